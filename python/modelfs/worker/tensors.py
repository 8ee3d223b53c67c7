# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Datatypes by the protocol's names and numbers, and BYTES elements with four bytes of length before each."""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from modelfs.dtypes import ml_dtypes
from modelfs.worker import InvalidArgument

Array = npt.NDArray[Any]

# Their numbers count from 1.
NAMES = ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"]
NAMES += ["FP16", "FP32", "FP64", "BYTES", "BF16"]
CODES = {name: code for code, name in enumerate(NAMES, 1)}
BYTES, BF16 = CODES["BYTES"], CODES["BF16"]

_NUMPY = {
    "BOOL": "|b1",
    "UINT8": "|u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "|i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BF16": "<u2",  # unless ml_dtypes is there
}

DTYPES: list[np.dtype[Any]] = [np.dtype(object)] + [np.dtype(_NUMPY.get(name, object)) for name in NAMES]
_OF_DTYPE = {DTYPES[CODES[name]]: CODES[name] for name in _NUMPY if name != "BF16"}


def use_bfloat16() -> None:
    """Makes BF16 ml_dtypes' type where that is installed: looked for only by models that have such a tensor."""
    if DTYPES[BF16] == np.uint16 and (ml := ml_dtypes()) is not None:
        DTYPES[BF16] = np.dtype(ml.bfloat16)


def code_of_dtype(dtype: np.dtype[Any]) -> int:
    """The number of numpy's type; 0 if the protocol has none for it."""
    code = _OF_DTYPE.get(dtype)
    if code is None:
        if dtype.kind in "OSU":
            code = BYTES
        elif dtype.name == "bfloat16":
            code = BF16
        else:
            code = _OF_DTYPE.get(dtype.newbyteorder("<"), 0)
        _OF_DTYPE[dtype] = code
    return code


def code_of(datatype: object) -> int:
    """The number of a datatype by the protocol's name, or by anything that numpy takes; 0 if there is none."""
    if isinstance(datatype, str) and datatype.upper() in CODES:
        return CODES[datatype.upper()]
    try:
        return code_of_dtype(np.dtype(datatype))  # type: ignore[call-overload]
    except TypeError:
        return 0


def of_torch(value: object) -> tuple[Array, int] | None:
    """A torch tensor as an array, and its datatype; None for anything else. torch is not imported for that."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return None
    found = value.detach().cpu()
    if found.dtype == torch.bfloat16:
        return found.contiguous().view(torch.int16).numpy(), BF16
    array = found.numpy()
    return array, code_of_dtype(array.dtype)


def decode_bytes(name: str, memory: Array, shape: tuple[int, ...]) -> Array:
    """An array of bytes objects. The lengths are a client's: of what is by reference nobody has looked at them,
    and he may change them at any time."""
    raw = memory.tobytes()
    elements: list[bytes] = []
    at, end = 0, len(raw)
    while at < end:
        if end - at < 4:
            raise InvalidArgument(f"input {name!r}: its BYTES elements do not fill their memory")
        (size,) = struct.unpack_from("<I", raw, at)
        at += 4
        if size > end - at:
            raise InvalidArgument(f"input {name!r}: a BYTES element of {size} bytes where {end - at} are left")
        elements.append(raw[at : at + size])
        at += size
    if len(elements) != math.prod(shape):
        raise InvalidArgument(f"input {name!r}: {len(elements)} BYTES elements for shape {list(shape)}")
    array: Array = np.empty(len(elements), object)
    array[:] = elements
    array = array.reshape(shape)
    array.flags.writeable = False
    return array


def encode_bytes(array: Array) -> bytes:
    """The elements of an array of bytes or str."""
    pieces: list[bytes] = []
    for element in array.ravel().tolist():
        if isinstance(element, str):
            element = element.encode()
        elif not isinstance(element, bytes | bytearray):
            raise TypeError(f"an element of a BYTES tensor is bytes or str, not {type(element).__name__}")
        pieces += (struct.pack("<I", len(element)), element)
    return b"".join(pieces)


class Inputs(dict[str, Any]):
    """Name -> array, where BYTES tensors become arrays when somebody looks at them first."""

    def __init__(self) -> None:
        super().__init__()
        self._late: dict[str, tuple[Array, tuple[int, ...]]] = {}

    def later(self, name: str, memory: Array, shape: tuple[int, ...]) -> None:
        self._late[name] = memory, shape
        super().__setitem__(name, None)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - as dict has it
        late = self._late.pop(name, None)
        if late is not None:
            super().__setitem__(name, decode_bytes(name, *late))
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as dict has it
        try:
            return self[name]
        except KeyError:
            return default

    def values(self) -> Any:  # noqa: ANN401 - as dict has it
        return [self[name] for name in self]

    def items(self) -> Any:  # noqa: ANN401 - as dict has it
        return [(name, self[name]) for name in self]

    def pop(self, name: str, *default: Any) -> Any:  # noqa: ANN401 - as dict has it
        if name in self:
            _ = self[name]
        return super().pop(name, *default)

    def __iter__(self) -> Iterator[str]:  # so that dict(inputs) and {**inputs} ask for each, as of any mapping
        return super().__iter__()

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def __or__(self, other: Any) -> Any:  # noqa: ANN401 - as dict has it
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:  # noqa: ANN401 - as dict has it
        return other | dict(self)
