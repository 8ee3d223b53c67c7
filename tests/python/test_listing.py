# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Looking around loads nothing, however Python does it, and side files load nothing either."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from library import MINILM, Library
from mounts import Mount


def walk(top: Path) -> None:
    assert [os.stat(os.path.join(at, name)) for at, folders, files in os.walk(top) for name in folders + files]


def scan(top: Path) -> None:
    with os.scandir(top / "models" / MINILM) as entries:
        assert [entry.stat() for entry in entries]


def find(top: Path) -> None:
    assert [path.stat() for path in top.rglob("*")]


def match(top: Path) -> None:
    assert glob.glob(f"{top}/models/*/*.safetensors") and glob.glob(f"{top}/tensors/**/*.npy", recursive=True)


def copy_side_files(top: Path) -> None:
    folder = top / "models" / MINILM
    assert all((folder / name).read_bytes() for name in ("config.json", "tokenizer.json", "1_Pooling/config.json"))


def free_space(top: Path) -> None:
    assert shutil.disk_usage(top).total > 0


@pytest.mark.parametrize("look", [walk, scan, find, match, copy_side_files, free_space])
def test_loads_nothing(mount_anew: Callable[[Path], Mount], library: Library, look: Callable[[Path], None]) -> None:
    mount = mount_anew(library.folder)
    look(mount.point)
    status = mount.status()
    assert status["counters"]["loads"] == status["counters"]["misses"] == 0
    assert {m["state"] for m in status["models"]} == {"absent"}
    (mount.models / MINILM / "model.safetensors").open("rb").close()
    assert mount.status()["counters"]["loads"] == 1, "the control: opening a weight file is a load"
