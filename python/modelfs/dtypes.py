# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Element types by the names of safetensors and index.json, and what numpy, torch and DLPack call them."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class DType:
    """An element type. Block types, of which several elements share bytes, have none."""

    name: str
    size: int
    numpy: str | None  # numpy's own name of it
    ml: str | None = None  # its name in ml_dtypes
    torch: str | None = None
    dlpack: int | None = None  # type code, where numpy has no such type


_TYPES = [
    DType("BOOL", 1, "|b1", torch="bool"),
    DType("U8", 1, "|u1", torch="uint8"),
    DType("I8", 1, "|i1", torch="int8"),
    DType("U16", 2, "<u2", torch="uint16"),
    DType("I16", 2, "<i2", torch="int16"),
    DType("U32", 4, "<u4", torch="uint32"),
    DType("I32", 4, "<i4", torch="int32"),
    DType("U64", 8, "<u8", torch="uint64"),
    DType("I64", 8, "<i8", torch="int64"),
    DType("F16", 2, "<f2", torch="float16"),
    DType("F32", 4, "<f4", torch="float32"),
    DType("F64", 8, "<f8", torch="float64"),
    DType("C64", 8, "<c8", torch="complex64"),
    DType("C128", 16, "<c16", torch="complex128"),
    DType("BF16", 2, None, "bfloat16", "bfloat16", 4),
    DType("F8_E4M3", 1, None, "float8_e4m3fn", "float8_e4m3fn", 10),
    DType("F8_E4M3FNUZ", 1, None, "float8_e4m3fnuz", "float8_e4m3fnuz", 11),
    DType("F8_E5M2", 1, None, "float8_e5m2", "float8_e5m2", 12),
    DType("F8_E5M2FNUZ", 1, None, "float8_e5m2fnuz", "float8_e5m2fnuz", 13),
    DType("F8_E8M0", 1, None, "float8_e8m0fnu", "float8_e8m0fnu", 14),
]

BY_NAME = {t.name: t for t in _TYPES}
_BY_TORCH = {t.torch: t for t in _TYPES}

_BY_ML = {t.ml: t for t in _TYPES if t.ml is not None}

# What safetensors' own reader takes; the rest is written as bytes there.
IN_SAFETENSORS = frozenset(BY_NAME) - {"C128"}


def ml_dtypes() -> Any:  # noqa: ANN401 - a module that may be missing
    """The package of numpy's missing types, or None."""
    try:
        return importlib.import_module("ml_dtypes")
    except ImportError:
        return None


@functools.cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """numpy's type for a name. Types that numpy lacks are ml_dtypes' where that is installed, else
    elements of as many bytes, as in a .npy file; a block type is its bytes."""
    known = BY_NAME.get(name)
    if known is None:
        return np.dtype("|u1")
    if known.numpy is not None:
        return np.dtype(known.numpy)
    ml = ml_dtypes()
    return np.dtype(getattr(ml, known.ml, None) or f"|V{known.size}") if known.ml else np.dtype(f"|V{known.size}")


def dtype_of(dtype: Any) -> tuple[np.dtype[Any], str | None]:  # noqa: ANN401 - as numpy takes it
    """numpy's type of what a caller gives, and its name, if it has one: whatever numpy takes, a name, or that of
    ml_dtypes' type ("bfloat16"), which numpy itself knows only once somebody has imported that package."""
    known = BY_NAME.get(dtype) or _BY_ML.get(dtype) if isinstance(dtype, str) else None
    if known is not None:
        return numpy_dtype(known.name), known.name
    made = np.dtype(dtype)
    return made, name_of_numpy(made)


@functools.cache
def name_of_numpy(dtype: np.dtype[Any]) -> str | None:
    """The name of numpy's or ml_dtypes' type; None if it has none."""
    if dtype.kind in "biufc" and dtype.isbuiltin == 1:
        return next((t.name for t in _TYPES if t.numpy == dtype.str), None)
    if dtype.isbuiltin == 2 and dtype.type.__module__ == "ml_dtypes":
        return next((t.name for t in _TYPES if t.ml == dtype.name), None)
    return None


@functools.cache
def torch_dtype(name: str) -> torch.dtype | None:
    """torch's type for a name; None for one that torch does not know, or a block type."""
    import torch

    known = BY_NAME.get(name)
    found = getattr(torch, known.torch, None) if known is not None and known.torch is not None else None
    return found if isinstance(found, torch.dtype) else None


@functools.cache
def _names_of_torch() -> dict[torch.dtype, str]:
    found = {torch_dtype(name): name for name in BY_NAME}
    return {dtype: name for dtype, name in found.items() if dtype is not None}


def name_of_torch(dtype: torch.dtype) -> str | None:
    """The name of torch's type; None if it has none."""
    return _names_of_torch().get(dtype)


@functools.cache
def torch_carrier(dtype: torch.dtype) -> tuple[np.dtype[Any], torch.dtype | None]:
    """The type of an array of which torch.from_numpy makes a tensor of a type; and, where numpy lacks that,
    the type as which the tensor is to be viewed then. An array of a shape at an offset and from_numpy take
    half the time of torch.frombuffer and view."""
    known = _BY_TORCH.get(str(dtype).removeprefix("torch."))  # without a look at all that torch has
    if known is not None and known.numpy is not None:
        return np.dtype(known.numpy), None
    return np.dtype(f"<i{dtype.itemsize}"), dtype
