# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""get_or_load through a real mount: what only the daemon does. Skips where it takes no tensors in yet."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mounts import Mount, eventually
from standin import finish, start

import modelfs
from modelfs import trust

LOAD = """
def load():
    with open(ARGS[0], "a") as f: f.write("x")
    time.sleep(float(ARGS[1]))
    return {"w": np.arange(1_000_000.0)}
def get(): return modelfs.get_or_load(ARGS[2], load, mount=MOUNT, required=True)["w"]
"""


def objects_of(mount: Mount) -> Path:
    return mount.point / "objects" / str(os.geteuid())


def test_fifty_processes_one_load(writable: Mount, tmp_path: Path) -> None:
    started = [start(LOAD + "print(get().sum())", writable.point, tmp_path / "calls", 0.5, "fifty") for _ in range(50)]
    assert {finish(p) for p in started} == {"499999500000.0"}
    assert (tmp_path / "calls").read_text() == "x"


STORM = """
import fcntl
from modelfs.locks import locked
for _ in range(200):
    with locked(ARGS[0]) as lock:
        with open(ARGS[1], "r+") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody else is here
        lock.remove()
print("done")
"""


def test_locks_that_come_and_go(writable: Mount, tmp_path: Path) -> None:
    """Who opens a lock while its holder takes the file away gets the next one, and no error."""
    here = tmp_path / "here"
    here.touch()
    path = objects_of(writable) / ".storm.lock"
    started = [start(STORM, writable.point, path, here) for _ in range(8)]
    assert {finish(p) for p in started} == {"done"}


def test_a_loader_that_is_killed(writable: Mount, tmp_path: Path) -> None:
    args = (writable.point, tmp_path / "calls")
    first = start(LOAD + "get()", *args, 60, "killed")
    eventually("it loads", (tmp_path / "calls").exists)
    others = [start(LOAD + "print(get().sum())", *args, 0.2, "killed") for _ in range(8)]
    time.sleep(0.5)
    first.kill()
    finish(first, -signal.SIGKILL)
    assert {finish(p) for p in others} == {"499999500000.0"}
    assert (tmp_path / "calls").read_text() == "xx"


def test_the_object_is_sealed(writable: Mount) -> None:
    modelfs.get_or_load("sealed", lambda: np.arange(1000.0), mount=writable.point, required=True)
    (file,) = objects_of(writable).glob("sealed@*")
    assert os.getxattr(file, trust.SEALED) == b"1"
    with pytest.raises(OSError) as refused:
        os.open(file, os.O_RDWR)
    assert refused.value.errno in (errno.EPERM, errno.EROFS, errno.ETXTBSY)
    assert file.stat().st_mode & 0o777 == 0o600 and objects_of(writable).stat().st_mode & 0o777 == 0o700
    assert str(file) in Path("/proc/self/maps").read_text(), "the first process is rebound to it"
    file.unlink()


def test_the_memory_is_shared(writable: Mount, tmp_path: Path) -> None:
    code = LOAD + (
        "w = get(); w.sum()\n"
        "head = shared = 0\n"
        "for line in open('/proc/self/smaps'):\n"
        "    if '-' in line.split()[0]: head = MOUNT in line\n"
        "    elif head and line.startswith('Anonymous:'): shared += int(line.split()[1])\n"
        "print(shared)"
    )
    args = (writable.point, tmp_path / "calls", 0, "memory")
    assert {finish(start(code, *args)) for _ in range(2)} == {"0"}


def test_ttl(writable: Mount) -> None:
    code = "modelfs.get_or_load('brief', lambda: np.ones(1000), mount=MOUNT, ttl=1, required=True)"
    finish(start(code, writable.point))
    assert list(objects_of(writable).glob("brief@*"))
    eventually("it goes", lambda: not list(objects_of(writable).glob("brief@*")))


MODULE = """
def load():
    import torch
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256)).eval()
"""


def test_torch_module_bit_for_bit(writable: Mount) -> None:
    torch = pytest.importorskip("torch")
    names: dict[str, Any] = {}
    exec(MODULE, names)  # noqa: S102 - as the other process runs it
    module = names["load"]()
    expected = module(torch.ones(1, 256))
    shared = modelfs.get_or_load("module", names["load"], mount=writable.point, required=True)
    assert torch.equal(shared(torch.ones(1, 256)), expected)
    code = (
        MODULE
        + """
import torch
m = modelfs.get_or_load("module", load, mount=MOUNT, required=True)
print(m(torch.ones(1, 256)).sum().item())
m.requires_grad_(True)(torch.ones(1, 256)).sum().backward()
"""
    )
    assert float(finish(start(code, writable.point))) == expected.sum().item()
