# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What the examples share: a mount to work in, a model to put there, and what memory a process has."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

try:
    import modelfs
except ImportError:  # it is not installed: take the one beside the examples
    sys.path.insert(0, str(REPOSITORY / "python"))
    import modelfs

MB = 1_000_000


@contextlib.contextmanager
def mounted(*flags: str, own: bool = False) -> Iterator[str]:
    """The mount that MODELFS_MOUNT names; without one, or for an example that must have its ``own``, a new one
    in a temporary folder, which is gone at the end. Child processes find it in MODELFS_MOUNT."""
    before = os.environ.get("MODELFS_MOUNT")
    if before and not own:
        yield before
        return
    with tempfile.TemporaryDirectory(prefix="modelfs-example-") as folder:
        point, models = Path(folder, "mnt"), Path(folder, "models")
        point.mkdir()
        models.mkdir()
        subprocess.run(
            [program(), "mount", "--models", models, *flags, "--daemon", "--log", f"{folder}/log", point], check=True
        )
        os.environ["MODELFS_MOUNT"] = str(point)
        try:
            yield str(point)
        finally:
            os.environ.pop("MODELFS_MOUNT")
            if before:
                os.environ["MODELFS_MOUNT"] = before
            subprocess.run([program(), "umount", point], check=True, stdout=subprocess.DEVNULL)


def program() -> str:
    """The modelfs program: what MODELFS names, what `make build` made, or what is installed."""
    built = str(REPOSITORY / "build" / "modelfs")
    found = os.environ.get("MODELFS") or shutil.which(built) or shutil.which("modelfs")
    if not found:
        raise SystemExit("there is no program modelfs: `make build`, or put it on the PATH")
    return found


def publish(mount: str, name: str, file: Path) -> None:
    """Puts a weight file into the mount as a model, unless there is one of the name.

    It is written under a name with a dot and renamed, so that nobody sees half of it."""
    final = Path(mount, "models", name)
    if final.exists():
        return
    new = final.with_name(f".{name}.{os.getpid()}")
    new.mkdir()
    shutil.copy(file, new / file.name)
    new.rename(final)


def own_memory(pid: int | str = "self") -> int:
    """Bytes of a process that are its own, shared with nobody."""
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    raise RuntimeError(f"/proc/{pid}/status has no RssAnon")


def settled_memory() -> int:
    """own_memory, once what is free has been given back: an allocator keeps what a computation has used."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return own_memory()


def mapped_from(place: str, field: str, pid: int | str = "self") -> int:
    """Adds up a field of smaps over what a process has mapped of files below a folder.

    Pss is a process's share: a page that eight have mapped counts an eighth in each. Anonymous is what it has
    copied by writing. (Private_Dirty would call the whole model private when just one process has it mapped.)
    """
    total, counts = 0, False
    with open(f"/proc/{pid}/smaps") as smaps:
        for line in smaps:
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                counts = len(words) > 5 and words[5].startswith(place)
            elif counts and words[0] == field + ":":
                total += int(words[1]) << 10
    return total


__all__ = [
    "MB",
    "REPOSITORY",
    "mapped_from",
    "modelfs",
    "mounted",
    "own_memory",
    "program",
    "publish",
    "settled_memory",
]
