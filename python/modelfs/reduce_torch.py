# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What torch does not pickle, or not so that memory could be shared, and what must be refused."""

from __future__ import annotations

import copyreg
import functools
import io
import pickle
import sys
import warnings
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from modelfs.dtypes import BY_NAME
from modelfs.errors import NotShareable

if TYPE_CHECKING:
    import torch

_TYPES = {t.torch for t in BY_NAME.values()} | {"complex32"}


def refuse(t: torch.Tensor) -> None:
    """Raises NotShareable for a tensor that is not plain data of this machine's memory."""
    if t.device.type not in ("cpu", "meta"):
        raise NotShareable(
            f"a tensor {tuple(t.shape)} on {t.device}: this shares the machine's own memory; "
            "return it on the CPU and move it with .to() after"
        )
    if not t.is_leaf:
        raise NotShareable(f"a tensor {tuple(t.shape)} that has a grad_fn: return it with .detach()")


def refuse_storage(s: torch.UntypedStorage) -> None:
    if s.device.type != "cpu":
        raise NotShareable(f"a storage on {s.device}: this shares the machine's own memory; return it on the CPU")


def is_plain(t: torch.Tensor) -> bool:
    """Whether a tensor is a part of a storage and nothing more. torch's own way of pickling the
    others comes down to plain ones, or to storages."""
    torch = sys.modules["torch"]
    return bool(
        t.layout is torch.strided
        and t.device.type == "cpu"
        and not (t.is_quantized or t.is_conj() or t.is_neg() or t.is_nested)
        and str(t.dtype).removeprefix("torch.") in _TYPES
    )


def reduce(o: Any, copies: list[str]) -> Any:  # noqa: ANN401 - what pickle takes
    """How to pickle what torch itself does not; notes in copies what will be no shared memory."""
    torch: Any = sys.modules.get("torch")
    if torch is None or isinstance(o, type):
        return NotImplemented
    if isinstance(o, (torch.jit.ScriptModule, torch.jit.ScriptFunction)):
        return _reduce_script(o, copies)
    if isinstance(o, torch.nn.Module):
        if _parametrized(o):
            return _blank_parametrized, (type(o).__mro__[1], list(o.parametrizations)), o.__dict__
        return _reduce_module(o)
    return NotImplemented


def _reduce_module(o: Any) -> Any:  # noqa: ANN401
    """A module as pickle has it, but for its dozen dictionaries of hooks, which are empty but for one module in a
    thousand: to make each of them by a call of its own, and to look afterwards whether it is there, as
    Module.__setstate__ does, is half of what it takes to make a model of many modules."""
    torch: Any = sys.modules["torch"]
    reduced = o.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    if len(reduced) != 5 or reduced[0] is not copyreg.__newobj__ or type(reduced[2]) is not dict:  # type: ignore[attr-defined] # as copyreg has it
        return reduced
    if type(o).__setstate__ is not torch.nn.Module.__setstate__:
        return reduced
    state = reduced[2]
    empty = tuple(k for k in _hooks() if type(state.get(k)) is OrderedDict and not state[k])
    rest = {k: v for k, v in state.items() if k not in empty}
    return *reduced[:2], (_version(), _same(empty), rest), *reduced[3:], _restore_module


@functools.cache
def _version() -> str:
    return str(sys.modules["torch"].__version__)  # which is of a class that parses it to compare it


@functools.cache
def _hooks() -> list[str]:
    """What of every module's attributes are hooks."""
    return [k for k, v in sys.modules["torch"].nn.Module().__dict__.items() if type(v) is OrderedDict]


@functools.cache
def _same(names: tuple[str, ...]) -> tuple[str, ...]:
    """One tuple for all that are equal: pickle has it once."""
    return names


def _restore_module(module: Any, state: tuple[str, tuple[str, ...], dict[str, Any]]) -> None:  # noqa: ANN401
    version, empty, rest = state
    for name in empty:
        rest[name] = OrderedDict()
    if version == _version():
        module.__dict__.update(rest)
    else:  # which knows what has come since
        module.__setstate__(rest)


def _reduce_script(o: Any, copies: list[str]) -> Any:  # noqa: ANN401
    torch: Any = sys.modules["torch"]
    file = io.BytesIO()
    torch.jit.save(o, file)
    copies.append(getattr(o, "original_name", type(o).__name__))
    _say_copy(copies[-1])
    return _load_script, (pickle.PickleBuffer(file.getvalue()),)


def _load_script(data: Any) -> Any:  # noqa: ANN401
    import torch

    loaded = torch.jit.load(io.BytesIO(data))
    _say_copy(getattr(loaded, "original_name", type(loaded).__name__))
    return loaded


def _say_copy(name: str) -> None:
    warnings.warn(
        f"TorchScript shares no memory: each process has a private copy of {name}", RuntimeWarning, stacklevel=2
    )


def _parametrized(o: Any) -> bool:  # noqa: ANN401
    """torch gives every parametrised module a class of its own, which refuses to be pickled."""
    from torch.nn.utils import parametrize

    kind = type(o)
    return parametrize.is_parametrized(o) and kind.__name__.startswith("Parametrized") and "__getstate__" in vars(kind)


def _blank_parametrized(cls: type[Any], names: list[str]) -> Any:  # noqa: ANN401
    from torch.nn.utils import parametrize

    module = object.__new__(cls)
    parametrize._inject_new_class(module)
    for name in names:
        parametrize._inject_property(module, name)
    return module
