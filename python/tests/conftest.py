# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a folder that stands for a mount, and real mounts by the helpers of tests/python.

What a mount's writable side is needed for skips where the program has none yet."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "python"
sys.path[:0] = [str(PACKAGE), str(PACKAGE / "tests"), str(REPOSITORY / "tests" / "python")]

import mounts
import required
from standin import StandIn

TEST_TIMEOUT = 300  # seconds
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("MODELFS_MOUNT", None)


@pytest.fixture(autouse=True)
def timeout() -> Iterator[None]:
    """A test that hangs fails."""

    def expired(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"the test took over {TEST_TIMEOUT} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(TEST_TIMEOUT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A folder of /dev/shm with what a mount has there, trusted for the time of the test."""
    from modelfs import trust

    folder = Path(tempfile.mkdtemp(prefix="modelfs-client-", dir="/dev/shm"))
    made = StandIn(folder)
    monkeypatch.setattr(trust, "_stand_in", str(folder))
    yield made
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def binary() -> Path:
    required.fuse()
    path = Path(os.environ.get("MODELFS", REPOSITORY / "build" / "modelfs")).resolve()
    assert os.access(path, os.X_OK), f"there is no program {path}: make build"
    return path


@pytest.fixture(scope="session")
def mount(binary: Path) -> Iterator[mounts.Mount]:
    """The models of models.py in a real mount."""
    import models

    with tempfile.TemporaryDirectory(prefix="modelfs-client-models-") as folder:
        models.write(Path(folder))
        with mounts.mounted(binary, Path(folder)) as mounted:
            yield mounted


@pytest.fixture
def writable(mount: mounts.Mount) -> mounts.Mount:
    """A real mount that takes tensors in."""
    missing = [name for name in ("sessions", "objects") if not (mount.point / name).is_dir()]
    if missing:
        required.lacking("writable", f"{mount.binary} shows no {' and no '.join(missing)} at the root of the mount")
    return mount
