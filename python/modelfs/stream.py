# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Streams: frames from one process to others, through a ring of slots in one shared file.

The layout of the file and the protocol are in docs/streams.md; tensors/stream is the same in Go. The
producer never waits: a reader that is too slow misses frames and is told so, and what it sees of a frame
counts only if the frame was not overwritten meanwhile, which is checked after its use.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np

from modelfs import ring
from modelfs.errors import ModelfsError
from modelfs.mapping import Bytes, map_shared
from modelfs.ring import Array, Layout, NotAStream, Ring, StreamBusy, StreamError

__all__ = [
    "Frame",
    "NotAStream",
    "Overrun",
    "Stream",
    "StreamBusy",
    "StreamError",
    "StreamReader",
    "StreamReplaced",
    "StreamWriter",
]

_NAP = 0.1  # seconds; the longest sleep: a producer's wake-up may not come, see docs/streams.md
_LOOKOUT = 1.0  # how often one that waits looks whether its file is still the one at the path


class Overrun(ModelfsError):
    """The frame was overwritten before its reader was done with it: what was read may be of several frames."""


class StreamReplaced(StreamError):
    """The file is no longer what its path names: it was removed, or a stream of another layout took its place."""


class Stream:
    """A stream of frames of one dtype and shape: see ``Stream.create`` and ``Stream.open``."""

    def __init__(self, path: str, fd: int, layout: Layout, memory: Bytes) -> None:
        self.path = os.path.abspath(path)
        self.shape, self.dtype, self.slots, self.nbytes = layout.shape, layout.dtype, layout.slots, layout.frame
        self._fd = fd
        self._ring = Ring(layout, memory)
        self._open = True
        self._release = weakref.finalize(self, os.close, fd)
        self._release.atexit = False  # the process's end closes it

    @staticmethod
    def create(
        path: str | os.PathLike[str],
        shape: int | tuple[int, ...],
        dtype: Any = np.float32,  # noqa: ANN401 - as numpy takes it
        slots: int = 4,
    ) -> StreamWriter:
        """The producer of the stream at a path: of a new one, or of the one that is there and has no producer.

        That goes on after its last frame in the same file if shape, dtype and slots are the same; else
        another file takes its place, and its readers are told.
        """
        path = os.fspath(path)
        return StreamWriter(path, *_create(path, Layout.new(shape, dtype, slots)))

    @staticmethod
    def open(path: str | os.PathLike[str]) -> StreamReader:
        """A reader: permission to read suffices. It begins with the first frame that is published from now
        on; ``latest`` also gives the one that is there."""
        path = os.fspath(path)
        fd, layout = ring.open_file(path, os.O_RDONLY)
        try:
            memory = map_shared(fd, writable=False)
        except BaseException:
            os.close(fd)
            raise
        return StreamReader(path, fd, layout, memory)

    @property
    def head(self) -> int:
        """The number of the last frame that was published; 0 before the first."""
        return self._ring.head

    @property
    def generation(self) -> int:
        """How many producers this file has had."""
        return self._ring.generation

    @property
    def closed(self) -> bool:
        return not self._open

    def close(self) -> None:
        """Ends the use of the stream. Arrays of its frames stay valid memory."""
        self._open = False
        self._release()

    def __repr__(self) -> str:
        return f"<modelfs.{type(self).__name__} {self.path} {self.dtype}{list(self.shape)} {self.slots} slots>"

    def _usable(self) -> Ring:
        if not self._open:
            raise ValueError(f"{self.path} was closed")
        return self._ring


class StreamWriter(Stream):
    """The producer. One thread at a time; a process that was forked off is none."""

    def __init__(self, path: str, fd: int, layout: Layout, memory: Bytes) -> None:
        super().__init__(path, fd, layout, memory)
        _writers.add(self)
        self._ring.start()

    def publish(self, array: Any) -> int:  # noqa: ANN401 - whatever numpy takes for an array
        """Copies a frame in, and wakes the readers. Returns its number."""
        frame = np.asarray(array)
        if frame.shape != self.shape or frame.dtype != self.dtype:
            raise TypeError(
                f"frames of {self.path} are {self.dtype}{list(self.shape)}, this is {frame.dtype}{list(frame.shape)}: "
                f"reshape() and astype() it"
            )
        with self.slot() as slot:
            np.copyto(slot, frame, casting="no")
        return self.head

    def slot(self) -> Slot:
        """The next frame's own memory, to be filled: ``with stream.slot() as array``. It is published when the
        block ends, unless by an exception. Before that it holds some older frame."""
        return Slot(self)

    def close(self) -> None:
        """Ends the stream: readers get what was published, then their iteration ends. The file stays."""
        if not self.closed:
            self._ring.end(ring.CLOSED)
        super().close()

    def __enter__(self) -> StreamWriter:  # noqa: PYI034 - Self is Python 3.11's
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Slot:
    """The memory of the next frame, for the time of a block."""

    __slots__ = ("_number", "_writer")

    def __init__(self, writer: StreamWriter) -> None:
        self._writer = writer
        self._number = 0

    def __enter__(self) -> Array:
        shared = self._writer._usable()
        self._number = shared.begin()
        return shared.array(self._number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._writer._usable().commit(self._number)


_writers: weakref.WeakSet[StreamWriter] = weakref.WeakSet()


def _forget_writers() -> None:
    """In a child: its copy of the descriptor would keep the lock when the producer is gone."""
    for writer in list(_writers):
        Stream.close(writer)
    _writers.clear()


os.register_at_fork(after_in_child=_forget_writers)


class Frame:
    """One frame, in the ring. It is gone when the producer has gone round::

    with frame as array:      # read-only, no copy
        total = array.sum()   # Overrun at the end of the block: forget total
    array = frame.copy()      # or a copy that was checked
    """

    __slots__ = ("_published", "_ring", "number")

    def __init__(self, shared: Ring, number: int) -> None:
        self.number = number  # counted from 1 over all producers of the file
        self._ring = shared
        self._published = shared.published(number)

    @property
    def array(self) -> Array:
        """The frame where it lies, unchecked: see ``valid``."""
        return self._ring.array(self.number)

    @property
    def valid(self) -> bool:
        """Whether the frame is still whole: then all that was read of it until now was of this frame."""
        return self._ring.whole(self.number)

    @property
    def age(self) -> float:
        """Seconds since it was published."""
        return (time.monotonic_ns() - self._published) / 1e9

    def copy(self, out: Array | None = None) -> Array:
        """A copy, into ``out`` if that is given; Overrun if the producer was faster."""
        copied: Array = self.array.copy() if out is None else out
        if out is not None:
            np.copyto(out, self.array)
        self.check()
        return copied

    def check(self) -> None:
        """Raises Overrun if the frame is not valid any more."""
        if not self.valid:
            raise Overrun(
                f"frame {self.number} was overwritten while it was used: the producer is at {self._ring.head} and has "
                f"{self._ring.layout.slots} slots; be quicker, copy() at once, or have more slots"
            )

    def __enter__(self) -> Array:
        return self.array

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, Exception):  # which a torn frame may have caused
            self.check()

    def __repr__(self) -> str:
        return f"<modelfs.Frame {self.number}>"


class StreamReader(Stream):
    """A reader: iterate over it, with ``for`` or ``async for``. One thread or task at a time.

    Iteration ends when the producer closes the stream. A producer that dies ends nothing: the next one
    goes on with the stream.
    """

    def __init__(self, path: str, fd: int, layout: Layout, memory: Bytes) -> None:
        super().__init__(path, fd, layout, memory)
        self.missed = 0  # frames between the first and the last one handed out that were passed over
        self._last = self._ring.head
        self._begun = False
        self._looked = 0.0
        self._thread: ThreadPoolExecutor | None = None

    @property
    def has_producer(self) -> bool:
        """Whether a process has the stream as its producer now: it lives, and has not closed it."""
        self._usable()
        return ring.is_locked(self._fd)

    def next(self, timeout: float | None = None) -> Frame | None:
        """Waits for the frame after the last one; None when the stream was closed. A reader that comes too
        late for it gets the newest one. TimeoutError after ``timeout`` seconds without a frame."""
        return self._follow(timeout, newest=False)

    def latest(self, timeout: float | None = None) -> Frame | None:
        """As ``next``, and passes over all frames but the newest one. The first call also gives a frame that
        was there when the stream was opened."""
        return self._follow(timeout, newest=True)

    def __iter__(self) -> StreamReader:
        return self

    def __next__(self) -> Frame:
        frame = self.next()
        if frame is None:
            raise StopIteration
        return frame

    def __aiter__(self) -> StreamReader:
        return self

    async def __anext__(self) -> Frame:
        loop = asyncio.get_running_loop()
        self._looked = time.monotonic()
        while True:
            frame, word, ended = self._look(newest=False)
            if frame is not None:
                return frame
            if ended:
                raise StopAsyncIteration
            if self._thread is None:  # its own: the loop's threads may all wait
                self._thread = ThreadPoolExecutor(1, "modelfs-stream")
            try:
                await loop.run_in_executor(self._thread, self._ring.wait, word, _NAP)
            except asyncio.CancelledError:
                self._ring.rouse()
                raise
            self._stay()

    def close(self) -> None:
        if self._thread is not None:
            self._ring.rouse()
            self._thread.shutdown(wait=False)
            self._thread = None
        super().close()

    def __enter__(self) -> StreamReader:  # noqa: PYI034 - Self is Python 3.11's
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _follow(self, timeout: float | None, newest: bool) -> Frame | None:
        frame, word, ended = self._look(newest)
        if frame is not None or ended:
            return frame
        now = self._looked = time.monotonic()
        end = None if timeout is None else now + timeout
        while True:
            left = _NAP if end is None else min(_NAP, end - time.monotonic())
            if left > 0:
                self._ring.wait(word, left)
            frame, word, ended = self._look(newest)
            if frame is not None or ended:
                return frame
            if left <= 0:
                raise TimeoutError(f"no frame of {self.path} within {timeout} s")
            self._stay()

    def _look(self, newest: bool) -> tuple[Frame | None, int, bool]:
        """The next frame if there is one; the futex word as it was before; whether the stream has ended."""
        shared = self._usable()
        word, state, head = shared.glance()
        n = self._choose(shared, newest, head)
        if n:
            self.missed += max(0, n - self._last - 1)
            self._last, self._begun = n, True
            return Frame(shared, n), word, False
        if state == ring.REPLACED:
            raise StreamReplaced(errno.ESTALE, f"{self.path} was replaced by a stream of another layout: open it again")
        return None, word, state == ring.CLOSED

    def _choose(self, shared: Ring, newest: bool, head: int) -> int:
        """The number of the frame that comes next, 0 if there is none yet."""
        first = max(self._last, 1) if newest and not self._begun else self._last + 1
        while head >= first:
            # The slot of the oldest frame may be being filled anew.
            n = head if newest or head - first > self.slots - 2 else first
            if n <= ring.LAST_FRAME and shared.whole(n):
                if not ring.ORDERED:
                    ring.fence()  # nothing is read of the frame before
                return n
            # The producer has gone round meanwhile, or the file is not what it should be.
            was, head = head, shared.head
            if head == was:
                break
        return 0

    def _stay(self) -> None:
        """Looks from time to time whether the file still is the one at its path."""
        now = time.monotonic()
        if now - self._looked > _LOOKOUT:
            self._looked = now
            if ring.displaced(self._fd, self.path):
                raise StreamReplaced(errno.ESTALE, f"{self.path} was removed, or another file is there: open it again")


def _create(path: str, layout: Layout) -> tuple[int, Layout, Bytes]:
    """Takes over the file at a path, or makes a new one; its lock is taken. Begins again when another process
    changes what the path names meanwhile."""
    while True:
        try:
            fd, was = ring.open_file(path, os.O_RDWR)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                fd, memory = ring.make(path, layout, over=False)
                return fd, layout, memory
            continue
        keep = False
        try:
            ring.lock(fd, path)
            old = ring.map_apart(fd, path)
            if old is None:
                continue
            if was == layout:
                keep = True
                return fd, layout, old
            made, memory = ring.make(path, layout, over=True)
            Ring(was, old).end(ring.REPLACED)
            return made, layout, memory
        finally:
            if not keep:
                os.close(fd)
