# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""DLPack capsules, by numpy, which owns them: their layout is that of dlpack.h.

numpy exports no type that it does not have itself. Those go as integers of the same size
whose type is then set in the capsule, before anybody has it.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from modelfs.dtypes import DType

CPU = (1, 0)


class _DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Versioned(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_uint32 * 2),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype = ctypes.c_int
_is_valid.argtypes = [ctypes.py_object, ctypes.c_char_p]

# numpy exports read-only arrays since it has the versioned capsule.
_NUMPY_IS_VERSIONED = tuple(int(n) for n in np.__version__.split(".")[:2]) >= (2, 1)


def export(array: np.ndarray[Any, Any], dtype: DType | None, max_version: tuple[int, int] | None) -> object:
    """A capsule of an array; dtype is the tensor's own type, which numpy may not have."""
    foreign = dtype is not None and dtype.dlpack is not None
    if foreign:
        array = array.view(f"u{array.dtype.itemsize}")
    if _NUMPY_IS_VERSIONED and max_version is not None:
        capsule = array.__dlpack__(max_version=max_version)
    else:
        writable = array.view()
        writable.flags.writeable = True
        capsule = writable.__dlpack__()
    if foreign and dtype is not None and dtype.dlpack is not None:
        _data_type(capsule).code = dtype.dlpack
    return capsule


def _data_type(capsule: object) -> _DataType:
    if _is_valid(capsule, b"dltensor_versioned"):
        found: Any = _Versioned.from_address(_pointer(capsule, b"dltensor_versioned")).tensor.dtype
    else:
        found = _Tensor.from_address(_pointer(capsule, b"dltensor")).dtype
    return found  # type: ignore[no-any-return]
