# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""A file in memory for exactly as long as something looks at it.

``mmap.mmap`` is not used, for two reasons. It can be closed under tensors: torch holds the
object, not its buffer, so that close() succeeds and the next read is a SIGSEGV. And it keeps
a descriptor per mapping (until Python 3.13 lets it not), which is one per tensor for some
models. Here there is nothing to close and no descriptor: the bytes are unmapped when the
array of them, which every view holds, is collected. Arrays are not seen by the garbage
collector, so a cycle of garbage never ends a mapping before the views in it.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

_PROT_READ, _PROT_WRITE = 1, 2
_MAP_SHARED, _MAP_PRIVATE, _MAP_NORESERVE = 1, 2, 0x4000


class Mapping:
    """What an array of mapped bytes keeps: numpy asks it where they are. An array type of ctypes is made anew
    for every size, which takes longer than the mapping."""

    __slots__ = ("__array_interface__", "__weakref__")

    def __init__(self, address: int, size: int, writable: bool) -> None:
        where = (address, not writable)
        self.__array_interface__: dict[str, Any] = {"version": 3, "typestr": "|u1", "shape": (size,), "data": where}

    @property
    def address(self) -> int:
        return int(self.__array_interface__["data"][0])


_libc = ctypes.CDLL(None, use_errno=True)
_mmap, _munmap = _libc.mmap, _libc.munmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

Bytes = npt.NDArray[np.uint8]


def map_private(fd: int) -> Bytes:
    """The bytes of a file, to be written as well: what is written is this process's own."""
    return _map(fd, os.fstat(fd).st_size, _PROT_READ | _PROT_WRITE, _MAP_PRIVATE | _MAP_NORESERVE)


def map_shared(fd: int, writable: bool) -> Bytes:
    """The bytes of a file as all others see them, and see written."""
    size = os.fstat(fd).st_size
    return _map(fd, size, _PROT_READ | (_PROT_WRITE if writable else 0), _MAP_SHARED, writable)


def map_private_path(path: str) -> Bytes:
    """Opens a file, which waits until it is whole in memory, and maps it."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return map_private(fd)
    finally:
        os.close(fd)


def _map(fd: int, size: int, protection: int, flags: int, writable: bool = True) -> Bytes:
    if size == 0:
        return np.empty(0, np.uint8)
    address = _mmap(None, size, protection, flags, fd, 0)
    if address is None or address == ctypes.c_void_p(-1).value:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot map {size} bytes: {os.strerror(code)}")
    memory = Mapping(address, size, writable)
    unmap = weakref.finalize(memory, _munmap, address, size)
    unmap.atexit = False  # the process's end unmaps all, after everybody's last look
    return np.asarray(memory)
