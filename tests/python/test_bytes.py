# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Every tensor has the bytes that the format's own library reads: as a raw file, as
.npy and where index.json says that it lies."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np
import pytest
from index import Entry, map_file, raw_view, read_index, strided_view
from library import WITH_REFERENCE, Library
from mounts import Mount
from reference import Tensor

pytestmark = pytest.mark.parametrize("model", WITH_REFERENCE)


def pairs(mount: Mount, library: Library, model: str) -> Iterator[tuple[Entry, Tensor]]:
    """Each tensor as index.json has it, and as it must be."""
    index, expected = read_index(mount.tensors / model), library.tensors(model)
    assert index.error is None
    assert sorted(t.name for t in index.tensors) == sorted(expected) != []
    for entry in index.tensors:
        yield entry, expected[entry.name]


def test_raw(mount: Mount, library: Library, model: str) -> None:
    folder = mount.tensors / model
    differ = [e.name for e, want in pairs(mount, library, model) if (folder / e.path).read_bytes() != want.data]
    assert differ == []


def test_npy(mount: Mount, library: Library, model: str) -> None:
    differ = []
    for entry, want in pairs(mount, library, model):
        array = np.load(mount.tensors / model / f"{entry.path}.npy", mmap_mode="r")
        assert isinstance(array, np.memmap)
        assert (array.dtype, array.shape) == (np.dtype(want.descr), want.npy_shape), entry.name
        assert array.offset == 4096, f"{entry.name}: the data are not at a page"
        if array.tobytes() != want.data:
            differ.append(entry.name)
    assert differ == []


def test_views_by_index(mount: Mount, library: Library, model: str) -> None:
    """Where a tensor lies as it is, index.json says where and how; of what is made it says that it lies nowhere."""
    mapped: dict[str, mmap.mmap] = {}
    differ = []
    for entry, want in pairs(mount, library, model):
        assert (entry.file is None, entry.offset is None) == (want.made, want.made), entry.name
        if entry.file is None:
            continue
        if entry.file not in mapped:
            mapped[entry.file] = map_file(mount.models / model / entry.file)
        if want.blocks:
            view = raw_view(mapped[entry.file], entry)
        else:
            view = strided_view(mapped[entry.file], entry, np.dtype(want.descr))
        if view.tobytes() != want.data:
            differ.append(entry.name)
    assert differ == []


def test_whole_files(mount: Mount, library: Library, model: str) -> None:
    on_disk = {p.relative_to(library.folder / model): p for p in (library.folder / model).rglob("*") if p.is_file()}
    shown = {p.relative_to(mount.models / model): p for p in (mount.models / model).rglob("*") if p.is_file()}
    assert sorted(shown) == sorted(on_disk)
    assert [name for name, path in on_disk.items() if shown[name].read_bytes() != path.read_bytes()] == []
