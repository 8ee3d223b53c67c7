# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The package as it is installed: it is whole, typed, and needs numpy alone."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]


def test_wheel(tmp_path: Path) -> None:
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed, and nothing is downloaded here")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", tmp_path, PACKAGE]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("modelfs-*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    (metadata,) = (name for name in inside if name.endswith("/METADATA"))
    lines = zipfile.ZipFile(wheel).read(metadata).decode().splitlines()
    extras = {
        extra: {line.split(";")[0] for line in lines if line.startswith("Requires-Dist") and f"'{extra}'" in line}
        for extra in ("client", "all")
    }
    assert extras["client"] and extras["client"] < extras["all"]
    sources = {f"modelfs/{p.name}" for p in (PACKAGE / "modelfs").iterdir() if p.is_file()}
    assert sources <= inside and "modelfs/py.typed" in inside
    assert not [name for name in inside if "test" in name or "__pycache__" in name]


def test_imports_nothing_but_numpy() -> None:
    """An import of the package costs little, and brings in no framework."""
    code = "import sys, modelfs; print([m for m in ('torch', 'jax', 'cloudpickle', 'asyncio') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE, check=True, capture_output=True, text=True).stdout
    assert not {"torch", "jax", "cloudpickle"} & set(eval(out))


def test_licence_lines() -> None:
    for path in PACKAGE.rglob("*.py"):
        lines = path.read_text().splitlines()
        assert lines[:2] == ["# Copyright The modelfs Authors", "# SPDX-License-Identifier: Apache-2.0"], path
