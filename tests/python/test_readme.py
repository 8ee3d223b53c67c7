# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The README's Python session runs, word for word but for its paths."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from library import SILERO, Library
from mounts import Mount

TENSOR = "conv1.bias"  # what the session maps


def session(mount: Mount) -> str:
    """All Python blocks of the README, one after the other."""
    blocks = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    if not blocks:
        pytest.skip("the README has no Python")
    return "\n".join(blocks).replace("/tmp/mnt", str(mount.point))


def test_python_session(mount: Mount, library: Library, tmp_path: Path) -> None:
    """What it maps is the tensor."""
    source = tmp_path / "session.py"
    source.write_text(session(mount))
    names = runpy.run_path(str(source))
    arrays = [v for v in names.values() if isinstance(v, np.memmap)]
    assert [a.tobytes() for a in arrays] == [library.tensors(SILERO)[TENSOR].data]
    assert all(Path(a.filename).is_relative_to(mount.point) for a in arrays)
