# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The list of a model's tensors, by columns: one who makes all of them at once needs a few long lists rather
than thousands of small dictionaries, which takes a quarter of the time.

The mount has it so in the file %index beside index.json, see WriteColumns in tensors/json.go.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

COLUMNS, ROWS = "%index", "index.json"

Entry = dict[str, Any]  # as index.json has it


@dataclass
class Index:
    """What lies where, for one content of a model. All columns are as long as names."""

    path: str
    inode: int  # of the file at path: each content has its own
    model: str
    generation: str
    error: str | None
    files: list[str]
    dtypes: list[str]
    names: list[str]
    shapes: list[list[int]]
    nbytes: list[int]
    dtype: list[int]  # which of dtypes
    file: list[int | None]  # which of files; None if the bytes do not lie in one as they are
    offset: list[int | None]
    others: dict[str, Entry]  # those, by name

    @cached_property
    def ordinals(self) -> dict[str, int]:
        """Where in the columns a name is."""
        return {name: i for i, name in enumerate(self.names)}

    @property
    def is_current(self) -> bool:
        with open(self.path, "rb", buffering=0) as file:
            return os.fstat(file.fileno()).st_ino == self.inode


def read(folder: str) -> Index:
    """The index in a folder of tensors. A daemon that is older than this package has index.json alone."""
    try:
        return _read(os.path.join(folder, COLUMNS))
    except FileNotFoundError:
        return _read(os.path.join(folder, ROWS))


def _read(path: str) -> Index:
    with open(path, "rb", buffering=0) as file:
        inode = os.fstat(file.fileno()).st_ino
        index = json.loads(file.read())
    if "tensors" in index:
        index = _by_columns(index)
    others = {entry["name"]: entry for entry in index.pop("others")}
    return Index(path, inode, others=others, **index)


def _by_columns(index: dict[str, Any]) -> dict[str, Any]:
    rows: Sequence[Entry] = index.pop("tensors")
    placed = [entry["file"] is not None and entry["contiguous"] for entry in rows]
    files = list(dict.fromkeys(entry["file"] for entry, there in zip(rows, placed, strict=True) if there))
    dtypes = list(dict.fromkeys(entry["dtype"] for entry in rows))
    return index | {
        "files": files,
        "dtypes": dtypes,
        "names": [entry["name"] for entry in rows],
        "shapes": [entry["shape"] for entry in rows],
        "nbytes": [entry["nbytes"] for entry in rows],
        "dtype": [dtypes.index(entry["dtype"]) for entry in rows],
        "file": [files.index(e["file"]) if there else None for e, there in zip(rows, placed, strict=True)],
        "offset": [e["offset"] if there else None for e, there in zip(rows, placed, strict=True)],
        "others": [entry for entry, there in zip(rows, placed, strict=True) if not there],
    }
