# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays as the protocol's tensors, and back."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from modelfs.dtypes import numpy_dtype

Array = np.ndarray[Any, Any]

_NUMPY = {
    "BOOL": "BOOL",
    "UINT8": "U8",
    "UINT16": "U16",
    "UINT32": "U32",
    "UINT64": "U64",
    "INT8": "I8",
    "INT16": "I16",
    "INT32": "I32",
    "INT64": "I64",
    "FP16": "F16",
    "FP32": "F32",
    "FP64": "F64",
    "BF16": "BF16",
}
_BY_NUMPY = {numpy_dtype(ours): name for name, ours in _NUMPY.items()}
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
_LENGTH = struct.Struct("<I")


def dtype_of(datatype: str) -> np.dtype[Any]:
    """numpy's type of a datatype of fixed size. BF16 is ml_dtypes', or two bytes where that is not installed."""
    try:
        return numpy_dtype(_NUMPY[datatype])
    except KeyError:
        raise TypeError(f"{datatype!r} is no datatype that numpy has") from None


def datatype_of(dtype: np.dtype[Any]) -> str | None:
    """The datatype of numpy's type of fixed size; None if the protocol has none."""
    return _BY_NUMPY.get(dtype)


class Tensor:
    """An input: its datatype and shape, and either an array of its elements or the bytes of BYTES."""

    __slots__ = ("array", "data", "datatype", "shape")

    def __init__(self, name: str, value: Any) -> None:  # noqa: ANN401 - whatever numpy makes an array of
        if isinstance(value, np.ndarray):
            array = value
        elif isinstance(value, (bytes, str)):
            array = np.array([value], object)
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], (bytes, str)):
            array = np.empty(len(value), object)
            array[:] = value
        elif hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            array = np.from_dlpack(value)
        else:
            array = np.asarray(value)
        self.shape: tuple[int, ...] = array.shape
        self.array: Array | None = None
        if array.dtype.kind in "OSU":
            self.datatype = "BYTES"
            self.data: bytes | memoryview = encode_strings(array.ravel())
            return
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        datatype = datatype_of(array.dtype)
        if datatype is None:
            raise TypeError(f"input {name!r} is {array.dtype}, which the protocol does not have")
        self.datatype = datatype
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array)
        self.array = array
        self.data = array.view(np.uint8).data.cast("B") if array.nbytes and array.ndim else array.tobytes()

    @property
    def nbytes(self) -> int:
        return len(self.data)


def encode_strings(elements: Iterable[Any]) -> bytes:
    """Elements of BYTES, each behind its length."""
    parts = []
    for element in elements:
        if isinstance(element, str):
            element = element.encode()
        elif not isinstance(element, bytes):
            raise TypeError(f"an element of BYTES is a {type(element).__name__}, want bytes or str")
        parts += [_LENGTH.pack(len(element)), element]
    return b"".join(parts)


def decode_strings(data: bytes | memoryview, count: int) -> Array:
    """The elements of BYTES, as bytes."""
    out = np.empty(count, object)
    at, size = 0, len(data)
    for i in range(count):
        if size - at < 4:
            raise ValueError(f"BYTES end in element {i} of {count}")
        (length,) = _LENGTH.unpack_from(data, at)
        at += 4
        if size - at < length:
            raise ValueError(f"element {i} of BYTES has {length} bytes, and {size - at} are left")
        out[i] = bytes(data[at : at + length])
        at += length
    if at != size:
        raise ValueError(f"{size - at} bytes are left behind {count} elements of BYTES")
    return out


def array_of(datatype: str, shape: Sequence[int], data: Any) -> Array:  # noqa: ANN401 - a buffer
    """An array that looks at raw bytes."""
    shape = tuple(shape)
    count = 1
    for n in shape:
        count *= n
    if datatype == "BYTES":
        return decode_strings(data, count).reshape(shape)
    dtype = dtype_of(datatype)
    have = data.nbytes if isinstance(data, np.ndarray) else len(data)
    if count * dtype.itemsize != have:
        raise ValueError(f"{datatype} of {shape} has {count * dtype.itemsize} bytes, not {have}")
    if not count:
        return np.empty(shape, dtype)
    if isinstance(data, np.ndarray):
        return data.view(dtype).reshape(shape)
    return np.frombuffer(data, dtype).reshape(shape)


def array_of_contents(datatype: str, shape: Sequence[int], contents: Any) -> Array:  # noqa: ANN401 - a message
    """An array of typed contents, which other servers answer with."""
    if datatype == "BYTES":
        out = np.empty(len(contents.bytes_contents), object)
        out[:] = list(contents.bytes_contents)
        return out.reshape(shape)
    if datatype not in _CONTENTS:
        raise ValueError(f"{datatype} has no typed contents")
    return np.array(getattr(contents, _CONTENTS[datatype]), dtype_of(datatype)).reshape(shape)
