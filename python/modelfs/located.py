# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Which arrays are files of a mount: what has a name there need not be copied to be sent."""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelfs.mapping import Mapping

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Located:
    """An array that is the whole of a file."""

    path: str
    inode: int
    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


_known: dict[int, Located] = {}  # by the address of the mapping


def remember(memory: Array, array: Array, path: str, inode: int) -> None:
    """Notes that an array, in memory that modelfs.mapping mapped, is the file."""
    owner = memory.base
    if not array.nbytes or not array.flags.c_contiguous or not isinstance(owner, Mapping):
        return
    start = owner.address
    found = Located(path, inode, array.__array_interface__["data"][0], array.shape, array.dtype)
    _known[start] = found

    def forget() -> None:
        if _known.get(start) is found:
            del _known[start]

    weakref.finalize(owner, forget).atexit = False


def locate(array: Array) -> str | None:
    """The file that an array is the whole of, if it is one and still has its name."""
    owner: Any = array
    while True:
        base = owner.base if isinstance(owner, np.ndarray) else owner.obj if isinstance(owner, memoryview) else None
        if base is None:
            break
        owner = base
    if not isinstance(owner, Mapping):
        return None
    found = _known.get(owner.address)
    if (
        found is None
        or found.address != array.__array_interface__["data"][0]
        or found.shape != array.shape
        or found.dtype != array.dtype
        or not array.flags.c_contiguous  # such as the transposed one of a square
    ):
        return None
    try:
        return found.path if os.stat(found.path).st_ino == found.inode else None
    except OSError:
        return None
