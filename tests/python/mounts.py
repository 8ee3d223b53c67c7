# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""A mount of the real program, whose daemon is a child of the tests.

Its end is a check: no mount, no process and no file of the daemon is left. What is
left is taken away, so that one test's fault is not another's."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds, for what must come and how fast is not the point


def environment() -> dict[str, str]:
    """The tests' own environment, less what would tell modelfs of another mount."""
    return {k: v for k, v in os.environ.items() if k not in ("MODELFS_MOUNT", "MODELFS_MODELS")}


def command(binary: Path, *args: str, mount: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command of modelfs, on a mount if it wants one."""
    env = environment() | ({"MODELFS_MOUNT": str(mount)} if mount else {})
    return subprocess.run([binary, *args], env=env, check=False, capture_output=True, text=True, timeout=PATIENCE)


def eventually(what: str, holds: Callable[[], bool], within: float = PATIENCE) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
        time.sleep(0.01)


@dataclass(frozen=True)
class Mount:
    """A mounted modelfs."""

    binary: Path
    point: Path
    daemon: subprocess.Popen[bytes]

    @property
    def models(self) -> Path:
        return self.point / "models"

    @property
    def tensors(self) -> Path:
        return self.point / "tensors"

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of modelfs on this mount."""
        return command(self.binary, *args, mount=self.point)

    def status(self) -> dict[str, Any]:
        """What .modelfs/status.json says."""
        return json.loads((self.point / ".modelfs" / "status.json").read_text())

    def model(self, name: str) -> dict[str, Any]:
        """What `modelfs ls --json` says of a model."""
        listed = self.run("ls", "--json")
        assert listed.returncode == 0, listed.stderr
        found = [m for m in json.loads(listed.stdout) if m["name"] == name]
        assert len(found) == 1, f"ls lists {name} {len(found)} times"
        return found[0]


@contextlib.contextmanager
def mounted(binary: Path, sources: Path, *flags: str) -> Iterator[Mount]:
    """Mounts the models below sources in a folder of its own, and takes all back."""
    name = f"modelfs-python-{secrets.token_hex(6)}"
    place = Path(tempfile.gettempdir(), name)
    point = place / "mnt"
    point.mkdir(parents=True)
    mount: Mount | None = None
    try:
        mount = _start(binary, point, ["--models", str(sources), *flags], place / "log")
        yield mount
        _forget_failures()
        _unmount(mount, place / "log")
        _await_nothing_left(name)
    finally:
        if mount is not None and mount.daemon.poll() is None:
            mount.daemon.kill()
            mount.daemon.wait()
        _sweep(name)
        shutil.rmtree(place)


def _start(binary: Path, point: Path, flags: list[str], log: Path) -> Mount:
    """Returns when the mount answers."""
    with log.open("wb") as out:
        daemon = subprocess.Popen(
            [*_ending_with_parent(), binary, "mount", *flags, point],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,  # Ctrl-C is for the tests, which unmount then
        )
    try:
        eventually("the daemon says ready", lambda: daemon.poll() is not None or "ready" in log.read_text())
        assert daemon.poll() is None, f"the daemon ended with {daemon.returncode}:\n{log.read_text()}"
    except BaseException:
        daemon.kill()
        daemon.wait()
        raise
    return Mount(binary, point, daemon)


def _ending_with_parent() -> list[str]:
    """What starts a program that is told to end when the tests are killed; util-linux has it."""
    return ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


def _forget_failures() -> None:
    """A failed test's frames hold what it had mapped."""
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        if hasattr(sys, name):
            delattr(sys, name)
    gc.collect()


def _unmount(mount: Mount, log: Path) -> None:
    said = command(mount.binary, "umount", str(mount.point))
    assert said.returncode == 0, f"umount: {said.stderr}"
    with contextlib.suppress(subprocess.TimeoutExpired):
        mount.daemon.wait(PATIENCE)
    assert mount.daemon.returncode is not None, f"the daemon lives on: {said.stdout}{log.read_text()}"
    assert mount.daemon.returncode == 0, f"the daemon ended with {mount.daemon.returncode}:\n{log.read_text()}"


def _await_nothing_left(name: str) -> None:
    with contextlib.suppress(AssertionError):  # which would not say what is left
        eventually("nothing is left", lambda: not remains(name))
    left = remains(name)
    assert not left, f"left behind: {left}"


def remains(name: str) -> list[str]:
    """Mounts, files of daemons, and processes with a name in theirs."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    return mounts + [str(path) for path in Path("/run/modelfs").glob(f"*{name}*")] + _processes(name)


def _processes(name: str) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            command = file.read_text(errors="replace").replace("\0", " ")
            if name in command:
                found.append(command)
    return found


def _sweep(name: str) -> None:
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if name in (point := line.split()[4]):
            subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
    for path in Path("/run/modelfs").glob(f"*{name}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
