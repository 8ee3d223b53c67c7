# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The file of a shared object: a valid safetensors file that holds the object as well.

    8 bytes           length of the JSON, little-endian
    JSON              padded with spaces, so that what follows is at a multiple of 4096
    __modelfs__       U8: "MODELFS1", lengths of table and skeleton and where the payload begins
                      (four u64), then the table and the skeleton, padded to a multiple of 4096
    payload           the tensors, each at a multiple of 64; U8 tensors __pad__N fill the gaps,
                      since safetensors' own reader refuses holes

The table says where each array lies and what becomes of it; the skeleton is the object's
pickle without them. Both are pickles and only for what may be trusted. The JSON is for
everybody: any reader of safetensors gets the tensors from it.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from modelfs.dtypes import BY_NAME, IN_SAFETENSORS
from modelfs.errors import UnreadableObject

SKELETON = "__modelfs__"
PADDING = "__pad__"
ALIASES = "alias"  # in the metadata: JSON, name -> name of the same tensor

_MAGIC = b"MODELFS1"
_PREFIX = struct.Struct("<8sQQQ")
_PAGE = 4096
ALIGNMENT = 64
_CHUNK = 8 << 20  # what grows a file in pieces this large is mapped by huge pages
_MAX_HEADER = 100 << 20  # safetensors' own limit


@dataclass(frozen=True)
class Item:
    """One run of bytes of the payload, and how safetensors shows it."""

    name: str
    dtype: str
    shape: Sequence[int]
    data: memoryview

    @property
    def nbytes(self) -> int:
        return self.data.nbytes


def place(sizes: Iterable[int]) -> list[int]:
    """Where each item lies in the payload."""
    offsets, end = [], 0
    for size in sizes:
        start = -(-end // ALIGNMENT) * ALIGNMENT if size else end
        offsets.append(start)
        end = start + size
    return offsets


def _header(items: Sequence[Item], area: int, metadata: dict[str, str]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt", **metadata}}
    entries[SKELETON] = {"dtype": "U8", "shape": [area], "data_offsets": [0, area]}
    end, pads = area, 0
    for item, offset in zip(items, place(i.nbytes for i in items), strict=True):
        start = area + offset
        if start > end:
            entries[f"{PADDING}{pads}"] = {"dtype": "U8", "shape": [start - end], "data_offsets": [end, start]}
            pads += 1
        end = start + item.nbytes
        entries[item.name] = {"dtype": item.dtype, "shape": list(item.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-(8 + len(text)) % _PAGE)


def write(fd: int, table: bytes, skeleton: bytes, items: Sequence[Item], metadata: dict[str, str]) -> int:
    """Writes a file from its begin to its end and returns its size. The room is taken first, so that
    what does not fit fails before anything is written."""
    used = _PREFIX.size + len(table) + len(skeleton)
    area = -(-used // _PAGE) * _PAGE
    header = _header(items, area, metadata)
    base = 8 + len(header)
    offsets = place(i.nbytes for i in items)
    size = base + area + (offsets[-1] + items[-1].nbytes if items else 0)
    os.ftruncate(fd, size)
    out = _Writer(fd)
    out.write(len(header).to_bytes(8, "little") + header)
    out.write(_PREFIX.pack(_MAGIC, len(table), len(skeleton), area) + table + skeleton + bytes(area - used))
    end = 0
    for item, offset in zip(items, offsets, strict=True):
        out.write(bytes(offset - end))
        out.write(item.data)
        end = offset + item.nbytes
    out.flush()
    return size


class _Writer:
    """Writes in sequence, in pieces of one size but for the last."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0
        self._pending = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while len(view):
            if not self._pending and len(view) >= _CHUNK:
                whole = len(view) // _CHUNK * _CHUNK
                self._put(view[:whole])
                view = view[whole:]
                continue
            part = min(len(view), _CHUNK - len(self._pending))
            self._pending += view[:part]
            view = view[part:]
            if len(self._pending) == _CHUNK:
                self.flush()

    def flush(self) -> None:
        pending, self._pending = self._pending, bytearray()
        self._put(memoryview(pending))

    def _put(self, view: memoryview) -> None:
        while len(view):
            n = os.pwrite(self._fd, view[:_CHUNK], self._at)
            self._at += n
            view = view[n:]


@dataclass(frozen=True)
class Parts:
    """Where the parts of a file are."""

    table: memoryview
    skeleton: memoryview
    payload: int  # offset in the file


def parse(view: memoryview) -> Parts:
    """Finds the parts of a file, without a look at its JSON."""
    size = len(view)
    base = 8 + int.from_bytes(view[:8], "little")
    if base + _PREFIX.size > size:
        raise UnreadableObject(f"{size} bytes, and its header says that it is longer")
    magic, table, skeleton, area = _PREFIX.unpack_from(view, base)
    if magic != _MAGIC:
        raise UnreadableObject("a safetensors file, and no object of modelfs.get_or_load")
    start = base + _PREFIX.size
    if _PREFIX.size + table + skeleton > area or base + area > size:
        raise UnreadableObject(f"{size} bytes, and its parts say that they are longer")
    middle = start + table
    return Parts(view[start:middle], view[middle : middle + skeleton], base + area)


@dataclass(frozen=True)
class Described:
    """A tensor as the JSON describes it; offset is the file's."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


def describe(view: memoryview) -> list[Described]:
    """The tensors of a safetensors file by its JSON, which may come from anybody: every number is
    checked against the bytes that are there. Tied names are there, what is not a tensor is not."""
    try:
        return _describe(view)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UnreadableObject(f"not a safetensors file: {error}") from error


def _describe(view: memoryview) -> list[Described]:
    length = int.from_bytes(view[:8], "little")
    if len(view) < 8 or length > min(len(view) - 8, _MAX_HEADER):
        raise ValueError(f"{len(view)} bytes do not hold a header of {length}")
    entries = json.loads(bytes(view[8 : 8 + length]))
    metadata = entries.pop("__metadata__", {})
    found = {}
    for name, entry in entries.items():
        if name != SKELETON and not name.startswith(PADDING):
            found[name] = _described(name, entry, 8 + length, len(view))
    for name, of in json.loads(metadata.get(ALIASES, "{}")).items():
        t = found[of]
        found[name] = Described(name, t.dtype, t.shape, t.offset, t.nbytes)
    return list(found.values())


def _described(name: str, entry: dict[str, Any], base: int, size: int) -> Described:
    start, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    for n in (start, end, *shape):
        if type(n) is not int or n < 0:
            raise ValueError(f"{name}: {n!r} is no size")
    dtype = entry["dtype"]
    if dtype not in IN_SAFETENSORS:
        raise ValueError(f"{name}: unknown type {dtype!r}")
    count = 1
    for n in shape:
        count *= n
    if not start <= end <= size - base or end - start != count * BY_NAME[dtype].size:
        raise ValueError(f"{name}: bytes {start} to {end} are not {dtype}{list(shape)} of a file of {size}")
    return Described(name, dtype, shape, base + start, end - start)
