# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""From a skeleton to the file: which memory goes where, and the table that says so."""

from __future__ import annotations

import json
import pickle
import sys
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from modelfs import container
from modelfs.container import ALIASES, PADDING, SKELETON, Item
from modelfs.dtypes import IN_SAFETENSORS, name_of_torch
from modelfs.naming import Names
from modelfs.pickling import ArrayRow, Skeleton, StorageRow, TensorRow

# What a table's row of a tensor says in its flags.
REQUIRES_GRAD, PARAMETER = 1, 2


@dataclass
class Table:
    """Where each part of the object is, in columns: the reader makes tensors in comprehensions.
    Offsets are those in the payload."""

    ids: int
    groups: list[tuple[str, int, list[tuple[int, int, tuple[int, ...]]]]] = field(default_factory=list)
    views: list[tuple[int, int, str, tuple[int, ...], tuple[int, ...], int, int]] = field(default_factory=list)
    storages: list[tuple[int, int, int | None]] = field(default_factory=list)
    typed: list[tuple[int, int, str]] = field(default_factory=list)
    arrays: list[tuple[int, int, int, str, tuple[int, ...], Literal["C", "F"], bool]] = field(default_factory=list)
    buffers: list[tuple[int, int, bool]] = field(default_factory=list)

    def dump(self) -> bytes:
        return pickle.dumps(tuple(vars(self).values()), protocol=5)

    @classmethod
    def load(cls, data: memoryview) -> Table:
        return cls(*pickle.loads(data))


def write(fd: int, o: object, s: Skeleton) -> int:
    """Writes an object's file; returns its size."""
    names = Names(o, _rows(s), (SKELETON, PADDING))
    items = [_storage_item(r, names) for r in s.storages]
    items += [_array_item(r, names) for r in s.arrays]
    items += [_buffer_item(i, b, names) for i, b in enumerate(s.buffers)]
    offsets = container.place(i.nbytes for i in items)
    table = _table(s, items, offsets)
    metadata = {"modelfs": "1", "pickle": s.pickler, ALIASES: json.dumps(_present(names.aliases, items))}
    return container.write(fd, table.dump(), s.data, items, metadata)


def _rows(s: Skeleton) -> dict[int, int]:
    return {id(r.tensor): r.id for r in s.tensors} | {id(r.source): r.id for r in s.arrays}


def _present(aliases: dict[str, str], items: list[Item]) -> dict[str, str]:
    """Tied names of what has its own entry; those of views have none."""
    names = {i.name for i in items}
    return {alias: name for alias, name in aliases.items() if name in names}


def _storage_item(row: StorageRow, names: Names) -> Item:
    data = _bytes_of(row.storage)
    if len(row.tensors) == 1 and row.tensors[0].whole:
        t = row.tensors[0].tensor
        dtype = name_of_torch(t.dtype)
        if dtype in IN_SAFETENSORS and dtype is not None:
            name = names.of(row.tensors[0].id) or names.new(f"tensor.{row.tensors[0].id}")
            return Item(name, dtype, tuple(t.shape), data)
    return Item(names.new(f"storage.{_number(row)}"), "U8", (data.nbytes,), data)


def _number(row: StorageRow) -> int:
    return row.tensors[0].id if row.tensors else row.id or 0


def _bytes_of(s: Any) -> memoryview:  # noqa: ANN401 - torch's storage
    torch: Any = sys.modules["torch"]
    if s.nbytes() == 0:
        return memoryview(b"")
    return memoryview(torch.empty(0, dtype=torch.uint8).set_(s).detach().numpy())


def _array_item(row: ArrayRow, names: Names) -> Item:
    a = row.array
    fortran = not a.flags.c_contiguous
    flat = (a.T if fortran else a).reshape(-1).view(np.uint8)
    name = names.of(row.id) or names.new(f"array.{row.id}")
    if row.dtype in IN_SAFETENSORS and not fortran:
        return Item(name, row.dtype, a.shape, flat.data)
    return Item(name, "U8", (flat.nbytes,), flat.data)


def _buffer_item(number: int, buffer: pickle.PickleBuffer, names: Names) -> Item:
    raw = buffer.raw()
    return Item(names.new(f"buffer.{number}"), "U8", (raw.nbytes,), raw)


def _table(s: Skeleton, items: list[Item], offsets: list[int]) -> Table:
    table = Table(s.ids)
    groups: dict[tuple[str, int], list[tuple[int, int, tuple[int, ...]]]] = {}
    used = {at for _, at, _ in s.typed}
    for row in s.tensors:
        storage, shape = s.storages[row.storage], tuple(row.tensor.shape)
        dtype, flags = str(row.tensor.dtype).removeprefix("torch."), _flags(row)
        alone = len(storage.tensors) == 1 and storage.id is None and row.storage not in used
        if row.whole and alone and row.tensor.numel():
            groups.setdefault((dtype, flags), []).append((row.id, offsets[row.storage], shape))
        else:
            stride, offset = tuple(row.tensor.stride()), int(row.tensor.storage_offset())
            table.views.append((row.id, row.storage, dtype, shape, stride, offset, flags))
    table.groups = [(*key, rows) for key, rows in groups.items()]
    n = len(s.storages)
    table.storages = [(offsets[i], items[i].nbytes, r.id) for i, r in enumerate(s.storages)]
    table.typed = s.typed
    for i, r in enumerate(s.arrays, n):
        order: Literal["C", "F"] = "C" if r.array.flags.c_contiguous else "F"
        table.arrays.append((r.id, offsets[i], r.array.size, r.dtype, r.array.shape, order, r.source.flags.writeable))
    for i, b in enumerate(s.buffers, n + len(s.arrays)):
        table.buffers.append((offsets[i], items[i].nbytes, b.raw().readonly))
    return table


def _flags(row: TensorRow) -> int:
    return (PARAMETER if row.parameter else 0) | (REQUIRES_GRAD if row.tensor.requires_grad else 0)
