# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""safetensors reads from models/ as from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from library import MINILM, SHARDED, SILERO, SILERO_FILE, Library
from mounts import Mount
from safetensors import deserialize, safe_open
from safetensors.numpy import load_file

FILES = [f"{SILERO}/{SILERO_FILE}", f"{MINILM}/model.safetensors"]


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        (a[n].dtype, a[n].shape) == (b[n].dtype, b[n].shape) and np.array_equal(a[n], b[n]) for n in a
    )


@pytest.mark.parametrize("backend", ["mmap", "pread"])
@pytest.mark.parametrize("file", FILES)
def test_load_file(mount: Mount, library: Library, file: str, backend: str) -> None:
    assert same(load_file(mount.models / file, backend=backend), load_file(library.folder / file))


@pytest.mark.parametrize("file", FILES)
def test_safe_open(mount: Mount, library: Library, file: str) -> None:
    with safe_open(library.folder / file, "np") as disk, safe_open(mount.models / file, "np") as shown:
        assert shown.keys() == disk.keys() and shown.metadata() == disk.metadata()
        for name in disk.keys():  # noqa: SIM118 - it is no dict
            assert np.array_equal(shown.get_tensor(name), disk.get_tensor(name)), name


def test_safe_open_of_a_part(mount: Mount, library: Library) -> None:
    name = "lstm_cell.weight_hh"
    with safe_open(mount.models / FILES[0], "np") as shown:
        part = shown.get_slice(name)
        assert part.get_shape() == [512, 128]
        rows = part[100:103]
    whole = np.frombuffer(library.tensors(SILERO)[name].data, "<f4").reshape(512, 128)
    assert np.array_equal(rows, whole[100:103])


def test_safe_open_maps_the_mount(mount: Mount) -> None:
    """The control: what it reads is the mount's own file, not a copy."""
    path = str(mount.models / FILES[1])
    assert path not in Path("/proc/self/maps").read_text()
    with safe_open(path, "np"):
        assert path in Path("/proc/self/maps").read_text()


def test_shards_by_their_list(mount: Mount, library: Library) -> None:
    """Every type, also those that NumPy does not have."""
    for shard in library.weights(SHARDED):
        shown = (mount.models / SHARDED / shard.name).read_bytes()
        assert dict(deserialize(shown)) == dict(deserialize(shard.read_bytes())), shard.name
