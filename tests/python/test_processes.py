# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes have one model: read once, and once in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from library import MINILM, Library
from mounts import Mount, eventually
from sharers import sharers, step

COUNT = 4
FILE = "model.safetensors"


def bytes_read(mount: Mount) -> int:
    """What the daemon has read from anywhere: not by its own count but the kernel's."""
    io = Path(f"/proc/{mount.daemon.pid}/io").read_text()
    return int(io.partition("rchar: ")[2].split()[0])


def test_one_load(mount_anew: Callable[[Path], Mount], library: Library) -> None:
    origin = library.folder / MINILM / FILE
    mount = mount_anew(library.folder)
    with sharers(mount.models / MINILM / FILE, COUNT) as processes:
        before = bytes_read(mount)
        step(processes)  # all open it at once
        assert origin.stat().st_size <= bytes_read(mount) - before < 1.5 * origin.stat().st_size
        digests = step(processes)
        assert digests == [hashlib.sha256(origin.read_bytes()).hexdigest()] * COUNT
        model = mount.model(MINILM)
        assert (model["state"], model["loads"]) == ("resident", 1)
        assert model["hits"] + mount.status()["counters"]["misses"] == COUNT
    assert mount.model(MINILM)["loads"] == 1


def test_references_are_the_processes(mount_anew: Callable[[Path], Mount], library: Library) -> None:
    """Each that maps the model counts once, although none has it open; killed ones count no more."""
    mount = mount_anew(library.folder)
    with sharers(mount.models / MINILM / FILE, COUNT) as processes:
        step(processes)
        eventually(f"{COUNT} references", lambda: mount.model(MINILM)["refs"] == COUNT)
        kept = mount.run("evict", MINILM)
        assert kept.returncode == 1 and all(str(p.process.pid) in kept.stderr for p in processes)
    eventually("no reference", lambda: mount.model(MINILM)["refs"] == 0)
    evicted = mount.run("evict", MINILM)
    assert evicted.returncode == 0, evicted.stderr


def cost(path: Path, private: bool) -> int:
    """What the file costs all processes together, in bytes."""
    with sharers(path, COUNT, private) as processes:
        step(processes)
        step(processes)
        return sum(int(n) for n in step(processes))


def test_one_copy_in_memory(mount: Mount, library: Library) -> None:
    path = mount.models / MINILM / FILE
    size = path.stat().st_size
    assert 0.9 * size < cost(path, private=False) < 1.1 * size
    assert cost(library.folder / MINILM / FILE, private=True) > 0.9 * COUNT * size, "the control: copies of one's own"
