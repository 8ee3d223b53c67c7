# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures: the program, the models, and mounts of them in every mode.

MODELFS names the program; without it that is build/modelfs."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import library as models
import mounts
import pytest
import required

REPOSITORY = Path(__file__).resolve().parents[2]
TEST_TIMEOUT = 180  # seconds

os.environ["HF_HUB_OFFLINE"] = "1"  # everything is here


@dataclass(frozen=True)
class Mode:
    """One way to run the daemon."""

    name: str
    flags: tuple[str, ...]
    passthrough: bool


MODES = [Mode("default", (), True), Mode("passthrough-off", ("--passthrough", "off"), False)]


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGTERM, interrupt)  # so that what is mounted is unmounted
    config.addinivalue_line("markers", "torch: needs torch (MODELFS_REQUIRE=torch installs it)")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("torch"):
        required.package("torch", "torch")


@pytest.fixture(autouse=True)
def timeout() -> Iterator[None]:
    """A test that hangs fails: an open or a read that waits in the mount can be interrupted."""

    def expired(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"the test took over {TEST_TIMEOUT} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(TEST_TIMEOUT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def binary() -> Path:
    path = Path(os.environ.get("MODELFS", REPOSITORY / "build" / "modelfs")).resolve()
    assert os.access(path, os.X_OK), f"there is no program {path}: make build"
    return path


@pytest.fixture(scope="session")
def library() -> Iterator[models.Library]:
    """The models on disk."""
    with tempfile.TemporaryDirectory(prefix="modelfs-python-models-") as folder:
        yield models.write(Path(folder))


@pytest.fixture(scope="session", params=MODES, ids=lambda mode: mode.name)
def mode(request: pytest.FixtureRequest) -> Mode:
    required.fuse()
    return request.param


@pytest.fixture(scope="session")
def mount(binary: Path, library: models.Library, mode: Mode) -> Iterator[mounts.Mount]:
    """The models, mounted for all tests of a mode that do not mind each other's loads."""
    with mounts.mounted(binary, library.folder, *mode.flags) as mount:
        yield mount


@pytest.fixture
def mount_anew(binary: Path, mode: Mode) -> Iterator[Callable[[Path], mounts.Mount]]:
    """Mounts a folder for one test alone: nothing in it is loaded."""
    with contextlib.ExitStack() as stack:
        yield lambda folder: stack.enter_context(mounts.mounted(binary, folder, *mode.flags))
