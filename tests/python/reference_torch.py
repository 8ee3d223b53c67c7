# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What torch reads from a file on disk. Only tests that need torch import this."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from reference import Tensor

# index.json's names by torch's.
DTYPES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.uint16: "U16", torch.int16: "I16",
    torch.uint32: "U32", torch.int32: "I32", torch.uint64: "U64", torch.int64: "I64", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64", torch.complex64: "C64",
    torch.complex128: "C128", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
    torch.float8_e8m0fnu: "F8_E8M0", torch.float8_e4m3fnuz: "F8_E4M3FNUZ", torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
}  # fmt: skip


def of_torch(*files: Path) -> list[Tensor]:
    """The tensors of a checkpoint, or of its shards, wherever they lie in it."""
    return [
        of_tensor(name, tensor)
        for file in files
        for name, tensor in walk(torch.load(file, map_location="cpu", weights_only=True))
    ]


def of_module(file: Path) -> list[Tensor]:
    """A whole module, which executes what its file says: only for one that the tests have written."""
    return [of_tensor(*t) for t in torch.load(file, weights_only=False).state_dict().items()]


def of_big_endian(file: Path) -> list[Tensor]:
    """torch swaps the bytes of these as modelfs does, where there are some and an element has several."""
    return [
        of_tensor(n, t, t.dtype.itemsize > 1 and t.numel() > 0) for n, t in walk(torch.load(file, weights_only=True))
    ]


def of_script(file: Path) -> list[Tensor]:
    """Parameters and buffers, other attributes, and the constants of the code."""
    module = torch.jit.load(file, map_location="cpu")
    found = dict(module.state_dict())
    for path, part in module.named_modules():
        for name, value in _attributes(part):
            found.setdefault(f"{path}.{name}".lstrip("."), value)
    constants: list[torch.Tensor] = []
    for constant in _constants(module):
        if not any(c.data_ptr() == constant.data_ptr() for c in constants):
            constants.append(constant)
    found |= {f"constants/{i}": c for i, c in enumerate(constants)}
    return [of_tensor(*t) for t in found.items()]


def _attributes(module: torch.jit.ScriptModule) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors that are no parameters and no buffers: only the dump lists their names."""
    for name in re.findall(r"(\w+) = ", module._c.dump_to_str(False, True, False)):
        if isinstance(value := getattr(module, name, None), torch.Tensor):
            yield name, value


def _constants(module: torch.jit.ScriptModule) -> Iterator[torch.Tensor]:
    """What methods have as defaults of their arguments, and in their code."""
    for part in module.modules():
        for name in part._c._method_names():
            method = part._c._get_method(name)
            defaults = [a.default_value for a in method.schema.arguments if a.has_default_value()]
            yield from (value for value in defaults if isinstance(value, torch.Tensor))
            for node in method.graph.findAllNodes("prim::Constant"):
                if node.hasAttribute("value") and node.kindOf("value") == "t":
                    yield node.t("value")


def walk(value: object, path: str | None = None) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in dicts, lists and tuples, by the way to it."""
    inner: list[tuple[Any, Any]] = []
    match value:
        case torch.Tensor():
            yield "tensor" if path is None else path, value
        case dict():
            inner = list(value.items())
        case list() | tuple():
            inner = list(enumerate(value))
    for key, item in inner:
        yield from walk(item, str(key) if path is None else f"{path}/{key}")


def of_tensor(name: str, tensor: torch.Tensor, made: bool = False) -> Tensor:
    """A tensor with torch's own strides; what it holds conjugated or negated lies nowhere so."""
    tensor = tensor.detach()
    made = made or tensor.is_conj() or tensor.is_neg()
    strides = None if made or tensor.is_contiguous() else tuple(tensor.stride())
    shape = tuple(tensor.shape)
    return Tensor(name, DTYPES[tensor.dtype], shape, shape, data(tensor), strides, made)


def data(tensor: torch.Tensor) -> bytes:
    """The numbers, row-major: NumPy does not have all of these types."""
    plain = tensor.resolve_conj().resolve_neg().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""
