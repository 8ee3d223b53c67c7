# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""index.json has the fields of the contract, and they say what the formats' libraries say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from index import Entry, read_index
from library import EVERY_TYPE, MODELS, ODD_NAMES, SHARDED, WITH_REFERENCE, Library
from mounts import Mount
from reference import NUMPY, Tensor

FIELDS = {"name", "path", "dtype", "shape", "strides", "nbytes", "file", "offset", "contiguous"}


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements; a dimension of 0 counts as 1, as NumPy has it."""
    sizes = [max(n, 1) for n in shape]
    return tuple(int(np.prod(sizes[i + 1 :])) for i in range(len(sizes)))


def check(entry: Entry, want: Tensor) -> None:
    assert (entry.dtype, tuple(entry.shape), entry.nbytes) == (want.dtype, want.shape, len(want.data)), entry.name
    in_file = want.strides or row_major(want.shape)
    assert entry.strides == (None if want.blocks else list(in_file)), entry.name
    assert entry.contiguous is (want.strides is None), entry.name


@pytest.mark.parametrize("model", WITH_REFERENCE)
def test_fields(mount: Mount, library: Library, model: str) -> None:
    raw = json.loads((mount.tensors / model / "index.json").read_text())
    assert raw.keys() >= {"model", "generation", "tensors", "error"}
    assert (raw["model"], raw["error"]) == (model, None)
    assert isinstance(raw["generation"], str) and raw["generation"]
    assert all(t.keys() >= FIELDS for t in raw["tensors"])
    for entry in read_index(mount.tensors / model).tensors:
        check(entry, library.tensors(model)[entry.name])


@pytest.mark.parametrize("model", WITH_REFERENCE)
def test_lies_in_its_file(mount: Mount, model: str) -> None:
    """No tensor lies outside of its file, and no two share bytes, but for torch's views."""
    ends: dict[str, int] = {}
    entries = [e for e in read_index(mount.tensors / model).tensors if e.file is not None]
    for entry in sorted(entries, key=lambda e: (e.file, e.offset, e.nbytes)):
        assert entry.file is not None and entry.offset is not None
        if not MODELS[model].torch:
            assert entry.offset >= ends.get(entry.file, 0), entry.name
        last = sum(max(n - 1, 0) * step for n, step in zip(entry.shape, entry.strides or [], strict=False))
        width = entry.nbytes // max(1, int(np.prod(entry.shape)))
        extent = entry.nbytes if entry.contiguous else (last + 1) * width
        ends[entry.file] = max(ends.get(entry.file, 0), entry.offset + extent)
    for file, end in ends.items():
        assert end <= (mount.models / model / file).stat().st_size, file


def test_odd_names_become_paths(mount: Mount) -> None:
    paths = {e.name: e.path for e in read_index(mount.tensors / SHARDED).tensors}
    assert {name: paths[name] for name in ODD_NAMES} == ODD_NAMES


def test_listed_are_the_paths_of_the_index(mount: Mount) -> None:
    folder = mount.tensors / SHARDED
    listed = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    paths = {e.path for e in read_index(folder).tensors}
    assert listed == paths | {f"{p}.npy" for p in paths} | {"index.json"}


def test_every_type_is_there(mount: Mount, library: Library) -> None:
    """The control: the files really have all types that their libraries can write."""
    shards = {e.dtype for e in read_index(mount.tensors / SHARDED).tensors}
    assert shards == set(NUMPY) - {"C128"} | {"F4"}
    blocks = {e.dtype for e in read_index(mount.tensors / EVERY_TYPE).tensors}
    assert {"F32", "BF16", "Q4_0", "Q8_1", "Q6_K", "IQ1_S", "IQ4_XS", "TQ1_0", "MXFP4", "NVFP4"} <= blocks
    assert len({t.file for t in read_index(mount.tensors / SHARDED).tensors}) == len(library.weights(SHARDED)) > 2


@pytest.mark.parametrize("model", WITH_REFERENCE)
def test_inspect_prints_the_same(mount: Mount, library: Library, model: str) -> None:
    """Without a mount: of the folder on disk."""
    inspected = mount.run("inspect", "--json", str(library.folder / model))
    assert inspected.returncode == 0, inspected.stderr
    shown = json.loads((mount.tensors / model / "index.json").read_text())
    assert json.loads(inspected.stdout)["tensors"] == shown["tensors"]
