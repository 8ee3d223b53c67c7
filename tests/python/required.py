# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What a machine may lack: a test that needs it skips and says why, unless
MODELFS_REQUIRE names it (fuse, passthrough, hugepages, python, torch): then it fails."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import NoReturn

import pytest


def lacking(what: str, why: str) -> NoReturn:
    """Skips the test for want of something, or fails it."""
    if what in os.environ.get("MODELFS_REQUIRE", "").replace(",", " ").split():
        pytest.fail(f"{what} is required, and: {why}", pytrace=False)
    pytest.skip(f"no {what}: {why}")


def fuse() -> None:
    """Only root gives the suite's modes; the Go suite has the one without privilege."""
    if not Path("/dev/fuse").exists():
        lacking("fuse", "there is no /dev/fuse")
    if os.geteuid() != 0:
        lacking("fuse", "the mounted tests need root")


def package(name: str, what: str = "python") -> None:
    """name is a package that the test imports."""
    if importlib.util.find_spec(name) is None:
        lacking(what, f"the package {name} is not installed")


def package_folder(name: str) -> Path:
    """Where a package lies, without importing it: the code of those with weights wants torch."""
    package(name)
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.submodule_search_locations, f"{name} is no package"
    return Path(spec.submodule_search_locations[0])
