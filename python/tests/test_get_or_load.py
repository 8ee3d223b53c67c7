# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""One load for a key: threads, tasks, processes, forks, loaders that die, and the end of it all."""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
import stat
import subprocess
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from standin import StandIn, finish

import modelfs
from modelfs import mapping

# A load_fn that counts, in a file that all processes see, and takes a while.
LOAD = """
def load():
    with open(ARGS[0], "a") as f: f.write(f"{os.getpid()}\\n")
    time.sleep(float(ARGS[1]))
    return {"w": np.arange(1000.0)}
"""


def counted(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def until(holds: Any, within: float = 20) -> None:  # noqa: ANN401
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_object_in_the_process(stand_in: StandIn) -> None:
    calls = []

    def load() -> dict[str, np.ndarray]:
        calls.append(1)
        time.sleep(0.1)
        return {"w": np.ones(3)}

    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(modelfs.get_or_load("k", load, mount=stand_in.point)))
        for _ in range(32)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(calls) == 1 and len(found) == 32 and all(o is found[0] for o in found)


def test_tasks_wait_without_stopping_the_loop(stand_in: StandIn) -> None:
    calls, ticks = [], 0

    def load() -> dict[str, np.ndarray]:
        calls.append(1)
        time.sleep(0.3)
        return {"w": np.ones(3)}

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def run() -> list[Any]:
        ticking = asyncio.create_task(tick())
        cancelled = asyncio.create_task(modelfs.aget_or_load("k", load, mount=stand_in.point))
        await asyncio.sleep(0.05)
        tasks = [asyncio.create_task(modelfs.aget_or_load("k", load, mount=stand_in.point)) for _ in range(40)]
        await asyncio.sleep(0.05)
        cancelled.cancel()
        tasks[0].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found.pop(0), asyncio.CancelledError)
        ticking.cancel()
        return found

    threads = threading.active_count()
    found = asyncio.run(run())
    assert len(calls) == 1 and all(o is found[0] for o in found) and ticks >= 10
    until(lambda: threading.active_count() <= threads)


def test_load_fn_may_be_a_coroutine_function(stand_in: StandIn) -> None:
    async def load() -> dict[str, np.ndarray]:
        await asyncio.sleep(0.01)
        return {"w": np.ones(3)}

    found = asyncio.run(modelfs.aget_or_load("k", load, mount=stand_in.point))
    assert found["w"].sum() == 3


class Loader:
    """What is no coroutine function, and gives a coroutine."""

    async def __call__(self) -> dict[str, np.ndarray]:
        return {"w": np.ones(3)}


def test_load_fn_may_give_a_coroutine(stand_in: StandIn) -> None:
    found = asyncio.run(modelfs.aget_or_load("k", Loader(), mount=stand_in.point))
    assert found["w"].sum() == 3


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.filterwarnings("ignore:.* by this process for itself:RuntimeWarning")
def test_a_coroutine_is_no_object(stand_in: StandIn, tmp_path: Path, shared: bool) -> None:
    async def load() -> dict[str, np.ndarray]:
        raise AssertionError

    for load_fn in (load, Loader()):
        with pytest.raises(TypeError, match="load_fn of 'k' is a coroutine function: .*aget_or_load"):
            modelfs.get_or_load("k", load_fn, mount=stand_in.point if shared else tmp_path)


def test_what_it_raises_goes_to_its_caller_and_another_takes_over(stand_in: StandIn) -> None:
    calls = []

    def load() -> dict[str, np.ndarray]:
        calls.append(1)
        time.sleep(0.1)
        if len(calls) == 1:
            raise ZeroDivisionError("mine")
        return {"w": np.ones(3)}

    results: list[Any] = []

    def ask() -> None:
        try:
            results.append(modelfs.get_or_load("k", load, mount=stand_in.point))
        except ZeroDivisionError as error:
            results.append(error)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(calls) == 2 and sum(isinstance(r, ZeroDivisionError) for r in results) == 1 and len(results) == 10


def test_a_load_that_asks_for_itself(stand_in: StandIn) -> None:
    def load() -> object:
        return modelfs.get_or_load("k", load, mount=stand_in.point)

    with pytest.raises(RuntimeError, match="asks for what it is to load"):
        modelfs.get_or_load("k", load, mount=stand_in.point)


def test_many_processes_one_load(stand_in: StandIn, tmp_path: Path) -> None:
    code = LOAD + "print(modelfs.get_or_load('k', load, mount=MOUNT)['w'].sum())"
    started = [stand_in.start(code, tmp_path / "calls", 0.5) for _ in range(20)]
    assert {finish(p) for p in started} == {"499500.0"}
    assert counted(tmp_path / "calls") == 1
    assert [f.name.split("@")[0] for f in stand_in.files()] == ["k"], "no lock and no temporary file is left"


def test_a_loader_that_is_killed(stand_in: StandIn, tmp_path: Path) -> None:
    code = LOAD + "print(modelfs.get_or_load('k', load, mount=MOUNT)['w'].sum())"
    first = stand_in.start(code, tmp_path / "calls", 60)
    until(lambda: counted(tmp_path / "calls") == 1)
    others = [stand_in.start(code, tmp_path / "calls", 0.2) for _ in range(6)]
    time.sleep(0.5)
    first.send_signal(signal.SIGKILL)
    finish(first, -signal.SIGKILL)
    assert {finish(p) for p in others} == {"499500.0"}
    assert counted(tmp_path / "calls") == 2


def test_what_a_killed_loader_has_written_is_taken_away(stand_in: StandIn) -> None:
    from modelfs import keys

    def load() -> dict[str, np.ndarray]:
        return {"w": np.ones(3)}

    name = keys.object_path("k", keys.digest(keys.identity(load), None))
    left = stand_in.objects / f"{keys.temporary_stem(name)}.0123.tmp"
    left.write_bytes(b"half")
    modelfs.get_or_load("k", load, mount=stand_in.point)
    assert [f.name for f in stand_in.files()] == [name]


def test_a_loader_that_raises_in_one_process(stand_in: StandIn, tmp_path: Path) -> None:
    code = LOAD + (
        "def failing():\n"
        "    made = load()\n"
        "    if len(open(ARGS[0]).readlines()) == 1: raise ValueError\n"
        "    return made\n"
        "try: print(modelfs.get_or_load('k', failing, mount=MOUNT)['w'].sum())\n"
        "except ValueError: print('raised')"
    )
    started = [stand_in.start(code, tmp_path / "calls", 0.3) for _ in range(5)]
    assert sorted(finish(p) for p in started) == ["499500.0"] * 4 + ["raised"]
    assert counted(tmp_path / "calls") == 2


def test_fork_during_a_load(stand_in: StandIn, tmp_path: Path) -> None:
    """The child inherits neither the lock nor the load: it waits for its parent and gets what that loads."""
    code = LOAD + (
        "import threading, signal\n"
        "signal.alarm(100)\n"
        "t = threading.Thread(target=lambda: modelfs.get_or_load('k', load, mount=MOUNT)); t.start()\n"
        "time.sleep(0.2)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    ok = modelfs.get_or_load('k', load, mount=MOUNT)['w'].sum() == 499500\n"
        "    os._exit(0 if ok else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])); t.join()"
    )
    process = stand_in.start("import warnings; warnings.simplefilter('ignore')\n" + code, tmp_path / "calls", 0.7)
    assert finish(process) == "0"
    assert counted(tmp_path / "calls") == 1


def test_a_forked_child_does_not_keep_the_lock(stand_in: StandIn, tmp_path: Path) -> None:
    """The loader is killed, a child that it forked meanwhile lives on: the next one need not wait for that."""
    code = LOAD + (
        "def forks():\n"
        "    pid = os.fork()\n"
        "    if pid == 0: time.sleep(30); os._exit(0)\n"
        "    print(pid, flush=True)\n"
        "    time.sleep(30)\n"
        "modelfs.get_or_load('k', forks if ARGS[1] == '0' else load, mount=MOUNT)"
    )
    # Both must be one key: so the code is the same and the argument chooses.
    code = code.replace("forks if ARGS[1] == '0' else load", "lambda: forks() if ARGS[1] == '0' else load()")
    first = stand_in.start(code, tmp_path / "calls", 0)
    assert first.stdout is not None
    child = int(first.stdout.readline())
    try:
        first.kill()
        first.wait()
        began = time.monotonic()
        finish(stand_in.start(code, tmp_path / "calls", 0.1))
        assert time.monotonic() - began < 15 and counted(tmp_path / "calls") == 1
    finally:
        os.kill(child, signal.SIGKILL)
        first.communicate()


def test_fork_and_spawn_after_attach(stand_in: StandIn) -> None:
    code = """
import multiprocessing
def load(): return {"w": np.arange(1000.0)}
def child(mount, stand_in, queue):
    trust._stand_in = stand_in
    queue.put(float(modelfs.get_or_load("k", load, mount=mount)["w"].sum()))
o = modelfs.get_or_load("k", load, mount=MOUNT)
context = multiprocessing.get_context("fork")
queue = context.Queue()
p = context.Process(target=child, args=(MOUNT, MOUNT, queue)); p.start(); print(queue.get()); p.join()
o["w"][0] = 1; pid = os.fork()
if pid == 0:
    o["w"][0] = 7
    os._exit(int(o["w"][0]))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), o["w"][0])
"""
    assert stand_in.run(code) == "499500.0\n7 1.0"
    script = stand_in.point / "spawn.py"
    script.write_text(
        "import multiprocessing, sys, os\nimport numpy as np, modelfs\nfrom modelfs import trust\n"
        "def load(): return {'w': np.arange(1000.0)}\n"
        "def child(mount, queue):\n"
        "    trust._stand_in = mount\n"
        "    queue.put(float(modelfs.get_or_load('spawn', load, mount=mount, required=True)['w'].sum()))\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn'); queue = context.Queue()\n"
        "    p = context.Process(target=child, args=(sys.argv[1], queue)); p.start(); print(queue.get()); p.join()\n"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    said = subprocess.run(["python3", script, stand_in.point], env=env, capture_output=True, text=True, check=False)
    said = said if said.returncode == 0 else run_with_this_python(script, stand_in.point, env)
    assert said.stdout.strip() == "499500.0", said.stderr


def run_with_this_python(script: Path, point: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    import sys

    return subprocess.run([sys.executable, script, point], env=env, capture_output=True, text=True, check=False)


def test_another_load_fn_or_version_is_another_object(stand_in: StandIn) -> None:
    def get(value: int, version: object = None) -> float:
        return float(modelfs.get_or_load("k", lambda: np.full(1, value), mount=stand_in.point, version=version)[0])  # type: ignore[arg-type]

    assert [get(1), get(2), get(1), get(1, "b")] == [1, 2, 1, 1]
    assert len(stand_in.files()) == 3
    assert float(modelfs.get_or_load("k", lambda: np.full(1, 5), mount=stand_in.point)[0]) == 5


def test_writes_are_the_process_own(stand_in: StandIn) -> None:
    code = "o = modelfs.get_or_load('k', lambda: {'w': np.zeros(4)}, mount=MOUNT, required=True)\n"
    assert stand_in.run(code + "o['w'][:] = 7; print(o['w'].sum())") == "28.0"
    assert stand_in.run(code + "print(o['w'].sum())") == "0.0"


def test_the_memory_stays_as_long_as_somebody_looks(stand_in: StandIn) -> None:
    modelfs.get_or_load("k", lambda: {"a": np.arange(100_000), "b": np.ones(3)}, mount=stand_in.point)
    maps = Path("/proc/self/maps")
    found: Any = modelfs.get_or_load("k", lambda: {"a": np.arange(100_000), "b": np.ones(3)}, mount=stand_in.point)
    view = memoryview(found["a"])[99_999:]
    descriptors = len(os.listdir("/proc/self/fd"))
    modelfs.release("k")
    for file in stand_in.files():
        file.unlink()
    del found
    assert view[0] == 99_999 and str(stand_in.point) in maps.read_text()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    del view
    assert str(stand_in.point) not in maps.read_text()


def test_a_thousand_attachments_leave_no_mapping(stand_in: StandIn) -> None:
    def load() -> dict[str, np.ndarray]:
        return {"w": np.ones(100)}

    before = len(Path("/proc/self/maps").read_text().splitlines()), len(os.listdir("/proc/self/fd"))
    for _ in range(1000):
        modelfs.get_or_load("k", load, mount=stand_in.point)
        modelfs.release("k")
    after = len(Path("/proc/self/maps").read_text().splitlines()), len(os.listdir("/proc/self/fd"))
    assert after[0] - before[0] < 10 and after[1] == before[1]


def test_ends_in_any_order(stand_in: StandIn) -> None:
    code = """
import atexit, gc
o = modelfs.get_or_load("k", lambda: {"w": np.arange(1000.0), "v": np.ones(2)}, mount=MOUNT)
class Last:
    def __del__(self): assert self.w.sum() == 499500
last = Last(); last.w = o["w"]; last.me = last
atexit.register(lambda w=o["w"]: print(w.sum()))
view = o["v"][1:]
del o
modelfs.release("k")
garbage = Last(); garbage.w = last.w; garbage.me = garbage; del garbage; gc.collect()
print(view.sum())
"""
    for _ in range(2):
        assert stand_in.run(code) == "1.0\n499500.0"


def test_without_a_mount_it_warns_once_and_loads_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelfs import objects

    monkeypatch.setattr(objects, "_warned", set())
    calls = []

    def load() -> dict[str, int]:
        calls.append(1)
        return {}

    with pytest.warns(RuntimeWarning, match=f"'k'.*itself.*no modelfs mount at {tmp_path}.*modelfs mount"):
        first = modelfs.get_or_load("k", load, mount=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert modelfs.get_or_load("k", load, mount=tmp_path) is first
        modelfs.get_or_load("k2", load, mount=tmp_path)
    assert len(calls) == 2
    with pytest.raises(modelfs.MountNotFound, match="modelfs mount"):
        modelfs.get_or_load("k", load, mount=tmp_path, required=True)


def test_no_room(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelfs import container

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(container, "write", full)
    with pytest.warns(RuntimeWarning, match=f"needs 8 MB and {stand_in.point} has .* MB free"):
        kept = modelfs.get_or_load("k", lambda: np.ones(1_000_000), mount=stand_in.point)
    assert kept.sum() == 1_000_000
    with pytest.raises(modelfs.NoRoom) as refused:
        modelfs.get_or_load("k", lambda: np.ones(1_000_000), mount=stand_in.point, required=True)
    assert refused.value.errno == 28
    assert not [f for f in stand_in.files() if f.name.endswith(".tmp")]


def test_ttl_is_told(stand_in: StandIn) -> None:
    modelfs.get_or_load("k", lambda: np.ones(3), mount=stand_in.point, ttl=90)
    (file,) = stand_in.files()
    assert float(os.getxattr(file, "user.modelfs.ttl")) == 90


@pytest.mark.parametrize("ttl", [-1, float("nan"), float("inf"), datetime.timedelta(days=-1)])
def test_wrong_ttl(stand_in: StandIn, ttl: Any) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match="0 or more"):
        modelfs.get_or_load("k", pytest.fail, mount=stand_in.point, ttl=ttl)
    assert not stand_in.files()


def test_trust_is_owner(stand_in: StandIn) -> None:
    with pytest.raises(ValueError, match="owner"):
        modelfs.get_or_load("k", lambda: 1, mount=stand_in.point, trust="all")


def test_the_file_is_private_and_whole(stand_in: StandIn) -> None:
    modelfs.get_or_load("a/b", lambda: np.ones(3), mount=stand_in.point)
    (file,) = stand_in.files()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.parent == stand_in.objects / "a"
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_an_object_that_cannot_be_made_here(stand_in: StandIn) -> None:
    code = """
class Mine: pass
modelfs.get_or_load("k", lambda: [Mine(), np.ones(2)], mount=MOUNT, required=True)
"""
    stand_in.run(code)
    reader = "def get(): return modelfs.get_or_load('k', lambda: [Mine(), np.ones(2)], mount=MOUNT)\n"
    out = stand_in.run(reader + "try: get()\nexcept modelfs.UnreadableObject as e: print(e)\nelse: print('made')")
    assert "Mine" in out and "version=" in out


def test_a_damaged_file(stand_in: StandIn) -> None:
    """Is named, with what to do; and that helps."""

    def load() -> list[Any]:
        return ["text" * 99, np.ones(2)]

    modelfs.get_or_load("k", load, mount=stand_in.point)
    (file,) = stand_in.files()
    whole = bytearray(file.read_bytes())
    whole[whole.index(b"text") - 40 : whole.index(b"text")] = b"\xff" * 40
    for damage in (whole, whole[:5000], b""):
        modelfs.release("k")
        file.write_bytes(damage)
        with pytest.raises(
            modelfs.UnreadableObject, match=f"{file}: .* damaged.*: remove it, and the object is loaded"
        ):
            modelfs.get_or_load("k", load, mount=stand_in.point)
    file.unlink()
    assert len(modelfs.get_or_load("k", load, mount=stand_in.point)) == 2


def test_mapping_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert mapping.map_private_path(str(tmp_path / "empty")).size == 0
