# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Finds a handler's class, makes one of it, loads its model, and asks what it takes and gives."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import os
import sys
from dataclasses import dataclass
from typing import Any

from modelfs.errors import ModelError, ModelNotFound, MountNotFound
from modelfs.worker import tensors

logger = logging.getLogger("modelfs.worker")

Declared = tuple[str, int, tuple[int, ...]]  # name, datatype, shape without the batch's dimension


class Unusable(Exception):
    """The handler cannot serve. The text is for whoever started it."""


@dataclass(frozen=True)
class Options:
    """What the server said of the model, for a handler with a method ``configure``."""

    model: str
    mount: str | None
    file: str | None
    workers: int  # how many processes run it


@dataclass
class Handler:
    """One that is loaded."""

    object: Any
    infer: Any
    with_parameters: bool
    asynchronous: bool
    decoupled: bool
    concurrency: int
    max_batch: int
    inputs: list[Declared]
    outputs: list[Declared]
    platform: str = "python"
    exact: bool = True  # outputs have the shapes that are declared
    lease: object = None  # keeps the model in memory

    def hello(self) -> dict[str, Any]:
        def listed(declared: list[Declared]) -> list[dict[str, Any]]:
            return [
                {"name": name, "datatype": tensors.NAMES[code - 1], "shape": shape} for name, code, shape in declared
            ]

        return {
            "platform": self.platform,
            "inputs": listed(self.inputs),
            "outputs": listed(self.outputs),
            "max_batch": self.max_batch,
            "decoupled": self.decoupled,
            "concurrency": self.concurrency,
        }


def make(name: str, options: Options) -> Handler:
    """The handler of that name, module:Class; loaded."""
    module, _, attribute = name.rpartition(":")
    if not module or not attribute:
        raise Unusable(f"a handler is module:Class, not {name!r}")
    try:
        found = getattr(_imported(module), attribute, None)
        if found is None:
            raise Unusable(f"{module} has no {attribute}")
        made = found() if isinstance(found, type) else found
        if (configure := getattr(made, "configure", None)) is not None:
            configure(options)
        lease: object = None
        if (load := getattr(made, "load", None)) is not None:
            lease = _model(options.model, options.mount)
            loading = load(lease)
            if inspect.iscoroutine(loading):
                import asyncio

                asyncio.run(loading)
        handler = describe(made, name)
    except ModuleNotFoundError as error:
        raise Unusable(_missing(name, module, error)) from error
    except ImportError as error:
        raise Unusable(f"the handler {name} cannot be imported in {sys.executable}: {error}") from error
    handler.lease = lease
    return handler


def describe(made: object, name: str) -> Handler:
    """What an object says of itself."""
    infer = getattr(made, "infer", None)
    if not callable(infer):
        raise Unusable(f"{name} has no method infer(self, inputs)")
    generates = inspect.isgeneratorfunction(infer) or inspect.isasyncgenfunction(infer)
    max_batch, concurrency = (
        _number(made, name, what, least) for what, least in (("max_batch", 0), ("concurrency", 1))
    )
    return Handler(
        made,
        infer,
        _takes_parameters(infer),
        inspect.iscoroutinefunction(infer) or inspect.isasyncgenfunction(infer),
        bool(getattr(made, "decoupled", False)) or generates,
        concurrency,
        max_batch,
        _declared(made, name, "inputs"),
        _declared(made, name, "outputs"),
        str(getattr(made, "platform", "python")),
        bool(getattr(made, "exact", True)),
    )


def _imported(module: str) -> Any:  # noqa: ANN401 - a module
    if not module.endswith(".py"):
        return importlib.import_module(module)
    path = os.path.abspath(module)
    name = os.path.basename(path).removesuffix(".py")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not os.path.isfile(path):
        raise Unusable(f"there is no file {module}")
    sys.path.insert(0, os.path.dirname(path))  # as for a program: what lies beside it can be imported
    made = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def _missing(name: str, module: str, error: ModuleNotFoundError) -> str:
    missing = error.name or str(error)
    if module == missing or module.startswith(missing + "."):
        return f"there is no module {missing} for the handler {name} in {sys.executable}: install it there, or set PYTHONPATH"
    package = missing.partition(".")[0]
    return f"the handler {name} needs the package {package}: {sys.executable} -m pip install {package}"


def _model(name: str, mount: str | None) -> object:
    """The model of the mount; its name if there is none, or it cannot be shown as tensors."""
    import modelfs

    try:
        return modelfs.open(name, mount=mount)
    except MountNotFound:
        if mount is not None:
            raise
    except ModelNotFound:
        pass
    except ModelError as error:
        logger.info("%s is given to the handler by its name alone: %s", name, error)
    return name


def _takes_parameters(infer: Any) -> bool:  # noqa: ANN401 - something to call
    try:
        found = inspect.signature(infer).parameters
    except (TypeError, ValueError):
        return False
    positional = [p for p in found.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) >= 2 or any(p.kind == p.VAR_POSITIONAL for p in found.values())


def _number(made: object, name: str, what: str, least: int) -> int:
    value = getattr(made, what, least)
    if not isinstance(value, int) or value < least:
        raise Unusable(f"{name}.{what} is {value!r}, and has to be a number of at least {least}")
    return value


def _declared(made: object, name: str, what: str) -> list[Declared]:
    found: list[Declared] = []
    for entry in getattr(made, what, None) or []:
        try:
            tensor, datatype, shape = entry
            code = tensors.code_of(datatype)
            dimensions = tuple(-1 if n is None else int(n) for n in shape)
        except (TypeError, ValueError):
            raise Unusable(f"{name}.{what} has {entry!r}, and is a list of (name, datatype, shape)") from None
        if code == 0:
            raise Unusable(
                f"{name}.{what}: {tensor} has no datatype {datatype!r}: there are {', '.join(tensors.NAMES)}"
            )
        if code == tensors.BF16:
            tensors.use_bfloat16()
        found.append((str(tensor), code, dimensions))
    return found
