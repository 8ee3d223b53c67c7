# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""A folder that stands for a mount, and programs that use it in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass
class StandIn:
    """Has objects/<uid> and sessions; sealing, quotas and TTLs are the daemon's and not here."""

    point: Path

    def __post_init__(self) -> None:
        self.objects.mkdir(parents=True, mode=0o700)
        (self.point / "sessions").mkdir()
        (self.point / ".modelfs").mkdir()

    @property
    def objects(self) -> Path:
        return self.point / "objects" / str(os.geteuid())

    def files(self) -> list[Path]:
        """All that lies under objects, temporary names too."""
        return sorted(p for p in self.objects.rglob("*") if p.is_file())

    def start(self, code: str, *args: object) -> subprocess.Popen[str]:
        """Starts a program: code, after the imports and with the mount's path as MOUNT and ARGS."""
        return start(code, self.point, *args, stand_in=True)

    def run(self, code: str, *args: object) -> str:
        return finish(self.start(code, *args))


PROLOGUE = """
import os, sys, time
import numpy as np
import modelfs
from modelfs import trust
MOUNT, ARGS = sys.argv[1], sys.argv[3:]
if sys.argv[2] == "stand-in":
    trust._stand_in = MOUNT
"""


def start(code: str, mount: Path, *args: object, stand_in: bool = False) -> subprocess.Popen[str]:
    """Starts a Python program that has the package; what it prints is read by finish."""
    env = os.environ | {"PYTHONPATH": f"{PACKAGE}:{PACKAGE / 'tests'}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "error", "-c", PROLOGUE + code]
    mode = "stand-in" if stand_in else "mount"
    return subprocess.Popen(
        [*command, str(mount), mode, *map(str, args)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], expected: int | Sequence[int] = 0) -> str:
    """What a program has printed; it must have ended well."""
    out, err = process.communicate(timeout=100)
    codes = [expected] if isinstance(expected, int) else expected
    assert process.returncode in codes, f"ended with {process.returncode}: {err}"
    return out.strip()
