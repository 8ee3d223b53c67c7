# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Streams between threads, processes and users; tests/streams_test.go has them with the Go side, on real mounts."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfs import ring
from modelfs.dtypes import BY_NAME, ml_dtypes, numpy_dtype
from modelfs.errors import NoRoom
from modelfs.stream import NotAStream, Overrun, Stream, StreamBusy, StreamReader, StreamReplaced, StreamWriter

PACKAGE = Path(__file__).resolve().parents[1]


@pytest.fixture
def path() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="modelfs-stream-", dir="/dev/shm")
    os.chmod(folder, 0o755)
    yield os.path.join(folder, "frames")
    shutil.rmtree(folder)


def put(writer: StreamWriter, first: int, last: int) -> None:
    """Publishes frames whose elements are their number."""
    for n in range(first, last + 1):
        assert writer.publish(np.full(writer.shape, n, writer.dtype)) == n


def expect(frame: Any, number: int) -> None:  # noqa: ANN401 - a frame or None
    assert frame.number == number
    assert (frame.copy() == number).all()
    with frame as array:
        assert not array.flags.writeable
        assert (array == number).all()
    assert 0 <= frame.age < 60


def test_frames(path: str) -> None:
    writer = Stream.create(path, (2, 3), np.int32, slots=4)
    put(writer, 1, 1)
    reader = Stream.open(path)
    put(writer, 2, 4)
    for n in range(2, 5):
        expect(reader.next(), n)
    put(writer, 5, 7)  # as many as are sure to be whole: the fourth slot may be being filled
    for n in range(5, 8):
        expect(next(reader), n)
    assert reader.missed == 0
    put(writer, 8, 11)
    expect(reader.next(), 11)  # one more: the newest one
    assert reader.missed == 3
    put(writer, 12, 13)
    expect(reader.latest(), 13)
    assert (reader.missed, reader.generation, reader.head) == (4, 1, 13)
    assert (reader.shape, reader.dtype, reader.nbytes, reader.slots) == ((2, 3), np.int32, 24, 4)
    expect(Stream.open(path).latest(), 13)


@pytest.mark.parametrize("name", [*BY_NAME])
def test_every_dtype(path: str, name: str) -> None:
    dtype = numpy_dtype(name)
    with Stream.create(path, (3, 2), name) as writer:
        reader = Stream.open(path)
        bits = np.arange(6 * dtype.itemsize, dtype=np.uint8).reshape(3, -1) & (1 if name == "BOOL" else 255)
        writer.publish(bits.view(dtype))
        frame = reader.next()
    assert frame is not None
    assert frame.array.dtype == dtype
    assert (frame.copy().view(np.uint8) == bits).all()
    if ml_dtypes() is not None and dtype.kind != "V":
        Stream.create(path, (3, 2), dtype).close()  # the same by numpy's own name
        assert Stream.open(path).generation == 2


def test_scalar_frames(path: str) -> None:
    writer, reader = Stream.create(path, (), "F64", 2), Stream.open(path)
    writer.publish(np.float64(1.5))
    assert next(reader).copy() == 1.5


def test_overrun(path: str) -> None:
    writer = Stream.create(path, 4, np.uint8, 2)
    reader = Stream.open(path)
    put(writer, 1, 1)
    frame = next(reader)
    put(writer, 2, 2)
    assert frame.valid
    with pytest.raises(Overrun, match="frame 1 was overwritten.*at 3 and has 2 slots"), frame as array:
        assert array[0] == 1
        with writer.slot() as slot:
            assert not frame.valid  # from before the first byte
            slot[:] = 3
    with pytest.raises(Overrun):
        frame.copy()
    with pytest.raises(Overrun), frame:
        raise ValueError("what a torn frame may lead to")
    expect(next(reader), 3)
    out = np.zeros(4, np.uint8)
    with pytest.raises(RuntimeError), writer.slot() as slot:
        slot[:] = 9
        raise RuntimeError
    assert writer.head == 3  # nothing was published
    put(writer, 4, 4)
    assert next(reader).copy(out) is out
    assert out.tolist() == [4] * 4


def test_what_is_refused(path: str) -> None:
    writer = Stream.create(path, (2, 2), np.float32)
    for array in (np.zeros((2, 2)), np.zeros(4, np.float32), [[1, 2], [3, 4]]):
        with pytest.raises(TypeError, match=r"float32\[2, 2\].*astype"):
            writer.publish(array)
    assert writer.head == 0
    with pytest.raises(StreamBusy, match=f"process {os.getpid()}"):
        Stream.create(path, (2, 2), np.float32)
    with pytest.raises(StreamBusy):
        Stream.create(path, 7, np.float32)
    writer.close()
    with pytest.raises(ValueError, match="was closed"):
        writer.publish(np.zeros((2, 2), np.float32))
    for shape, slots in (
        ((2,), 1),
        ((2,), ring.MAX_SLOTS + 1),
        ((0,), 2),
        ((1,) * 17, 2),
        ((1 << 60,), 2),
        ((-1, -1), 2),
    ):
        with pytest.raises(ValueError):
            Stream.create(path + "x", shape, np.float64, slots)
    for dtype in (object, ">f4", "M8[s]", np.dtype([("a", "f4")])):
        with pytest.raises(TypeError):
            Stream.create(path + "x", 1, dtype)
    Path(path + "x").write_text("something else")
    with pytest.raises(NotAStream, match="does not begin with"):
        Stream.create(path + "x", 1)
    os.mkfifo(path + "fifo")
    with pytest.raises(NotAStream):
        Stream.open(path + "fifo")
    with pytest.raises(FileNotFoundError):
        Stream.open(path + "none")
    with pytest.raises(NoRoom, match="fewer slots"):
        Stream.create(path + "y", 1 << 44, np.uint8, 64)
    assert sorted(p.name for p in Path(path).parent.iterdir()) == ["frames", "framesfifo", "framesx"]


def test_hostile_headers(path: str) -> None:
    Stream.create(path, (100, 3), "F32", 5).close()
    good = Path(path).read_bytes()
    head, size = good[:512], len(good)
    assert ring.Layout.parse(head, size, path).size == size
    for at, value in [
        (7, b"m"), (8, b"\2"), (12, (832).to_bytes(4, "little")), (12, bytes(4)), (16, b"\6"), (16, b"\1\0"), (16, b"\xff" * 4),
        (20, b"\x11"), (24, b"\1"), (32, (1200).to_bytes(8, "little")), (39, b"\x80"), (40, b"\1\0"), (64, b"\x65"),
        (64, b"\xff" * 8), (64, bytes(8)),
    ]:  # fmt: skip
        bad = head[:at] + value + head[at + len(value) :]
        with pytest.raises(NotAStream):
            ring.Layout.parse(bad, size, path)
    with pytest.raises(NotAStream):
        ring.Layout.parse(head, size - 1, path)
    randomly = random.Random(1)
    for _ in range(3000):
        bad = bytearray(head)
        for _ in range(randomly.randint(1, 3)):
            bad[randomly.randrange(8, 128)] = randomly.randrange(256)
        try:
            layout = ring.Layout.parse(bytes(bad), size, path)
        except NotAStream:
            continue
        assert layout.size <= size
        np.empty(layout.frame, np.uint8).view(layout.dtype).reshape(layout.shape)


def soon(do: Callable[[], object], seconds: float = 0.01) -> threading.Timer:
    timer = threading.Timer(seconds, do)
    timer.start()
    return timer


def test_the_end(path: str) -> None:
    writer = Stream.create(path, 1, np.uint8)
    reader = Stream.open(path)
    assert reader.has_producer
    with pytest.raises(TimeoutError):
        reader.next(timeout=0.02)
    with pytest.raises(TimeoutError):
        reader.next(timeout=0)
    put(writer, 1, 2)
    timer = soon(writer.close)
    assert [frame.number for frame in reader] == [1, 2]
    timer.join()
    assert not reader.has_producer
    assert reader.next() is None
    writer = Stream.create(path, 1, np.uint8)
    put(writer, 3, 3)
    expect(next(reader), 3)
    reader.close()
    with pytest.raises(ValueError, match="was closed"):
        reader.next()


def test_replaced(path: str) -> None:
    reader = _killed_stream(path)
    timer = soon(lambda: Stream.create(path, 2, np.float32))
    start = time.monotonic()
    with pytest.raises(StreamReplaced, match="open it again"):
        reader.next()
    assert time.monotonic() - start < 0.09  # it was told
    timer.join()
    again = Stream.open(path)
    assert again.dtype == np.float32
    os.unlink(path)
    with pytest.raises(StreamReplaced, match="removed"):
        again.next()


def _killed_stream(path: str) -> StreamReader:
    """A stream whose producer is gone without a word."""
    writer = Stream.create(path, 1, np.uint8)
    writer._release()
    return Stream.open(path)


@pytest.mark.parametrize("steps", range(4))
def test_take_over(path: str, steps: int) -> None:
    """The next producer begins with what the one before left, at every step of a frame."""
    writer = Stream.create(path, 1, np.uint8, 3)
    reader = Stream.open(path)
    put(writer, 1, 3)
    expect(reader.next(), 3)
    longs = writer._ring.longs
    if steps > 0:
        longs[ring._SEQUENCE] = 7
        writer._ring.array(4)[:] = 4
    if steps > 1:
        longs[ring._SEQUENCE] = 8
    if steps > 2:
        longs[ring._HEAD] = 4
    writer._release()
    writer = Stream.create(path, 1, np.uint8, 3)
    begun = 4 if steps < 2 else 5
    for n in range(4, begun):
        expect(reader.next(1), n)
    put(writer, begun, begun)
    expect(reader.next(1), begun)


def test_fork(path: str) -> None:
    """A child neither publishes nor keeps the lock."""
    writer = Stream.create(path, 1, np.uint8)
    reader = Stream.open(path)
    into, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            writer.publish(np.zeros(1, np.uint8))
            os.write(out, b"published")
        except ValueError:
            os.write(out, b"refused")
        time.sleep(5)
        os._exit(0)
    try:
        assert os.read(into, 10) == b"refused"
        assert reader.has_producer  # still the parent
        put(writer, 1, 1)
        writer._release()  # as if the parent had been killed
        assert not reader.has_producer
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(into)
        os.close(out)


def test_arrays_outlive_the_stream(path: str) -> None:
    writer, reader = Stream.create(path, 5000, np.int64), Stream.open(path)
    put(writer, 1, 1)
    array = next(reader).array
    reader.close()
    writer.close()
    del reader, writer
    os.unlink(path)
    assert array.sum() == 5000


def test_without_futex(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = Stream.create(path, 1, np.uint8), Stream.open(path)
    asked = []

    def refuse(*words: int) -> int:
        asked.append(words)
        ctypes.set_errno(errno.ENOSYS)
        return -1

    monkeypatch.setattr(ring, "_asking", refuse)
    monkeypatch.setattr(ring, "_sleeping", lambda *_: pytest.fail("it sleeps, and is never woken"))
    ring._can_wait.cache_clear()
    try:
        for n in (1, 2):
            timer = soon(lambda n=n: put(writer, n, n))  # type: ignore[misc]
            expect(reader.next(1), n)
            timer.join()
    finally:
        ring._can_wait.cache_clear()
    assert len(asked) == 1


def test_async(path: str) -> None:
    async def follow(reader: StreamReader) -> list[int]:
        return [frame.number async for frame in reader]

    async def main() -> tuple[list[int], list[int]]:
        writer = Stream.create(path, 1, np.uint8)
        tasks = [asyncio.create_task(follow(Stream.open(path))) for _ in range(2)]
        canceled = Stream.open(path)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(canceled.__anext__(), 0.02)
        for n in (1, 2, 3):
            put(writer, n, n)
            await asyncio.sleep(0.01)
        expect(await canceled.__anext__(), 1)  # nothing is lost with a wait that was given up
        writer.close()
        first, second = await asyncio.gather(*tasks)
        return first, second

    assert asyncio.run(main()) == ([1, 2, 3], [1, 2, 3])


WORDS = 1 << 15

PRODUCE = f"""
import sys
import numpy as np
from modelfs.stream import Stream
with Stream.create(sys.argv[1], {WORDS}, np.uint64, 2) as writer:
    print("ready", flush=True)
    while True:
        with writer.slot() as slot:
            slot[:] = writer.head + 1
"""

READ = """
import json, sys
from modelfs.stream import Overrun, Stream
reader = Stream.open(sys.argv[1])
print("ready", flush=True)
whole = overrun = torn = seen = last = 0
for frame in reader:
    bad = False
    try:
        with frame as array:
            bad = bool((array != frame.number).any())
        whole += 1
        torn += bad  # a torn frame passed as whole
    except Overrun:
        overrun += 1
    seen += bad  # the control: without the check
    assert frame.number > last
    last = frame.number
print(json.dumps(dict(whole=whole, overrun=overrun, torn=torn, seen=seen, last=last, missed=reader.missed)))
"""


def start(code: str, path: str, **how: Any) -> subprocess.Popen[str]:  # noqa: ANN401 - of Popen
    env = os.environ | {"PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1"}
    program = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True, env=env, **how)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    return program


def test_storm(path: str) -> None:
    """Producers that overwrite as fast as they can are killed at any moment, and the next one goes on; readers,
    of which one is killed, accept no torn frame, and see torn ones where they do not check."""
    producer = start(PRODUCE, path)
    readers = [start(READ, path) for _ in range(3)]
    victim = readers.pop()
    for kill in range(4):
        time.sleep(0.2 + random.random() / 20)
        producer.kill()
        producer.communicate()
        if kill == 1:
            victim.kill()
            victim.communicate()
        if kill < 3:
            producer = start(PRODUCE, path)
    with Stream.create(path, WORDS, np.uint64, 2) as last:
        assert last.generation == 5
        head = last.head
    seen = 0
    for reader in readers:
        text, _ = reader.communicate(timeout=60)
        got = json.loads(text)
        print(got)
        assert got["torn"] == 0
        assert got["whole"] > 0
        assert got["last"] == head
        seen += got["seen"]
    assert seen > 0, "nothing was ever torn: this test shows nothing"
