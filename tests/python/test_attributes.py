# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Extended attributes, by os.getxattr."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from index import Entry, read_index
from library import EVERY_TYPE, SHARDED, SILERO, SILERO_FILE, Library
from mounts import Mount, eventually


def get(path: Path, name: str) -> str:
    return os.getxattr(path, f"user.modelfs.{name}").decode()


def listed(path: Path) -> set[str]:
    return {name.removeprefix("user.modelfs.") for name in os.listxattr(path) if name.startswith("user.modelfs.")}


def missing(path: Path, name: str) -> bool:
    with pytest.raises(OSError) as refused:
        get(path, name)
    return refused.value.errno == errno.ENODATA


def check_tensor(path: Path, entry: Entry) -> None:
    assert get(path, "dtype") == entry.dtype
    assert json.loads(get(path, "shape")) == entry.shape
    assert get(path, "file") == entry.file
    assert int(get(path, "offset")) == entry.offset
    if entry.strides is None:
        assert missing(path, "strides") and "strides" not in listed(path)
    else:
        assert json.loads(get(path, "strides")) == entry.strides


@pytest.mark.parametrize("model", [SILERO, SHARDED, EVERY_TYPE])
def test_tensors(mount: Mount, model: str) -> None:
    """They say what index.json says; shape and strides are JSON, the rest is text."""
    folder = mount.tensors / model
    for entry in read_index(folder).tensors:
        check_tensor(folder / entry.path, entry)
        assert listed(folder / entry.path) >= {"dtype", "shape", "file", "offset"}


def test_shape_has_no_spaces(mount: Mount) -> None:
    assert get(mount.tensors / SILERO / "lstm_cell.weight_hh", "shape") == "[512,128]"


def test_enough_for_a_memmap(mount: Mount, library: Library) -> None:
    """A client with nothing but a tensor's file knows what it is."""
    path = mount.tensors / SILERO / "stft_conv.weight"
    assert get(path, "dtype") == "F32"
    array = np.memmap(path, "<f4", "r", shape=tuple(json.loads(get(path, "shape"))))
    assert array.tobytes() == library.tensors(SILERO)["stft_conv.weight"].data


def test_life_of_a_model(mount_anew: Callable[[Path], Mount], library: Library) -> None:
    """absent, loaded by reading the attribute that waits, resident, evicted."""
    mount = mount_anew(library.folder)
    model = mount.models / SILERO
    assert listed(model) >= {"state", "refs", "bytes", "resident", "pinned", "ttl"}
    assert "wait" not in listed(model), "getfattr -d would load"
    assert (get(model, "state"), get(model, "refs"), get(model, "resident")) == ("absent", "0", "0")
    size = (library.folder / SILERO / SILERO_FILE).stat().st_size
    assert int(get(model, "bytes")) == size
    assert get(model, "wait") == "resident"
    assert get(model, "state") == "resident" and int(get(model, "resident")) >= size
    evicted = mount.run("evict", SILERO)
    assert evicted.returncode == 0, evicted.stderr
    assert (get(model, "state"), get(model, "resident")) == ("absent", "0")


def test_folder_handle_is_a_lease(mount_anew: Callable[[Path], Mount], library: Library) -> None:
    """os.open of a model's folder loads it, and keeps it until it is closed."""
    mount = mount_anew(library.folder)
    model = mount.models / SILERO
    handle = os.open(model, os.O_RDONLY)
    try:
        eventually("the handle loads the model", lambda: get(model, "state") == "resident")
        assert get(model, "refs") == "1"
        kept = mount.run("evict", SILERO)
        assert kept.returncode == 1 and str(os.getpid()) in kept.stderr
    finally:
        os.close(handle)
    eventually("the model can be evicted", lambda: mount.run("evict", SILERO).returncode == 0)


def test_pinned_and_ttl_can_be_set(mount_anew: Callable[[Path], Mount], library: Library) -> None:
    mount = mount_anew(library.folder)
    model = mount.models / SILERO
    for name, value in (("pinned", "1"), ("pinned", "0"), ("ttl", "90")):
        os.setxattr(model, f"user.modelfs.{name}", value.encode())
        assert get(model, name) == value
    assert mount.model(SILERO)["ttl_seconds"] == 90


def test_what_does_not_apply_is_missing(mount: Mount) -> None:
    assert missing(mount.models / SILERO, "error")
    assert missing(mount.models / SILERO, "dtype")
    assert missing(mount.tensors / SILERO / "conv1.bias", "state")
