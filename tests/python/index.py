# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""A reader of index.json such as any client would write: JSON, mmap and numpy."""

from __future__ import annotations

import dataclasses
import json
import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Entry:
    """One tensor of an index.json."""

    name: str
    path: str
    dtype: str
    shape: list[int]
    strides: list[int] | None
    nbytes: int
    file: str | None
    offset: int | None
    contiguous: bool


@dataclass(frozen=True)
class Index:
    """An index.json."""

    model: str
    generation: str
    tensors: list[Entry]
    error: str | None


def read_index(folder: Path) -> Index:
    """The index.json in a folder below tensors/. A missing field is a KeyError."""
    raw = json.loads((folder / "index.json").read_text())
    fields = [f.name for f in dataclasses.fields(Entry)]
    entries = [Entry(*(t[name] for name in fields)) for t in raw["tensors"]]
    return Index(raw["model"], raw["generation"], entries, raw["error"])


def map_file(path: Path) -> mmap.mmap:
    """Maps a file as it is, shared and read-only. The mapping lasts as long as the arrays on it."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def raw_view(weights: mmap.mmap, entry: Entry) -> np.ndarray:
    """The bytes of a tensor where they lie in the mapped weight file."""
    assert entry.offset is not None, f"{entry.name} lies nowhere"
    return np.frombuffer(weights, np.uint8, entry.nbytes, entry.offset)


def strided_view(weights: mmap.mmap, entry: Entry, dtype: np.dtype) -> np.ndarray:
    """A tensor where it lies in the mapped weight file, whatever its order."""
    assert entry.offset is not None and entry.strides is not None, f"{entry.name} has no view"
    strides = [n * dtype.itemsize for n in entry.strides]
    return np.ndarray(entry.shape, dtype, weights, entry.offset, strides)
