# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The file of a stream: its layout, its words, and the system calls that it needs. See docs/streams.md.

Words are read and written through memoryviews of their own size: one load or store of an aligned word
each, which is atomic on x86-64 and arm64. It orders nothing else; where the protocol needs order there is
a fence here, which is membarrier(2): Python has none of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import math
import os
import platform
import secrets
import stat
import struct
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelfs.dtypes import BY_NAME, dtype_of, numpy_dtype
from modelfs.errors import ModelfsError, NoRoom
from modelfs.mapping import Bytes, map_shared

Array = np.ndarray[Any, Any]

MIN_SLOTS, MAX_SLOTS, MAX_RANK = 2, 65536, 16
OPEN, CLOSED, REPLACED = range(3)

_MAGIC, _VERSION, _PAGE = b"MFSTREAM", 1, 4096
_FIXED = struct.Struct("<8sIIIIQQ24s16Q")
_FIXED_SIZE, _SLOT_ROW = 512, 64

# Indexes of words of four and of eight bytes; of the words of a slot, those of the first.
_WAKE, _STATE, _PRODUCER = 256 // 4, 260 // 4, 280 // 4
_HEAD, _GENERATION = 264 // 8, 272 // 8
_SEQUENCE, _TIME = 512 // 8, 520 // 8
LAST_FRAME = (1 << 63) - 1

# The numbers of futex(2), membarrier(2) and renameat2(2).
_NUMBERS = {
    "x86_64": (202, 324, 316),
    "aarch64": (98, 283, 276),
    "riscv64": (98, 283, 276),
}
_FUTEX, _MEMBARRIER, _RENAMEAT2 = _NUMBERS.get(platform.machine(), (0, 0, 0))
_FUTEX_WAIT, _FUTEX_WAKE, _EVERYBODY = 0, 1, 2**31 - 1
_MEMBARRIER_GLOBAL_EXPEDITED = 2
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1

# What sleeps lets other threads run; what is quick must not wait for them to let go again.
# Neither looks at errno, which ctypes keeps in a dictionary of the thread: what is not done often is not in any
# cache when a frame has gone through them, and everything that a frame passes then counts tenfold.
_sleeping = ctypes.CDLL(None).syscall
_quick = ctypes.PyDLL(None).syscall
_asking = ctypes.CDLL(None, use_errno=True).syscall
_sleeping.restype, _sleeping.argtypes = ctypes.c_long, [ctypes.c_long] * 5
_quick.restype, _quick.argtypes = ctypes.c_long, [ctypes.c_long] * 4
_asking.restype, _asking.argtypes = ctypes.c_long, [ctypes.c_long] * 5
_renaming = ctypes.CDLL(None, use_errno=True).syscall
_renaming.restype, _renaming.argtypes = ctypes.c_long, [ctypes.c_long] * 6


class StreamError(ModelfsError, OSError):
    """A stream cannot do what was asked."""


class StreamBusy(StreamError):
    """The stream has a producer."""


class NotAStream(ModelfsError, ValueError):
    """The file is no stream, or is of a version that is not known here."""


def fence() -> None:
    """Every access to memory before it happens before every one after it, as other processes see them."""
    # It is a full barrier for the caller, whoever else has registered. Where a sandbox refuses it, waking
    # nobody is one too, by the way the kernel does it.
    if _quick(_MEMBARRIER, _MEMBARRIER_GLOBAL_EXPEDITED, 0, 0) < 0:
        _quick(_FUTEX, _private.ctypes.data, _FUTEX_WAKE, 1)


_private = np.zeros(1, np.uint32)
_Limit = ctypes.c_int64 * 2


@functools.cache
def _can_wait() -> bool:
    """Whether the system waits for words: a sandbox may refuse it. This one is another already."""
    if _asking(_FUTEX, _private.ctypes.data, _FUTEX_WAIT, 1, 0) == 0:
        return True
    return ctypes.get_errno() in (errno.EAGAIN, errno.EINTR)


# Whether the processor keeps loads in their order, and stores: only a slot's first bytes need a fence then,
# which may be written by non-temporal stores. Who uses those has a fence after the last one.
ORDERED = platform.machine() == "x86_64"


@dataclass(frozen=True)
class Layout:
    """What never changes in a file."""

    name: str  # of the dtype
    extent: tuple[int, ...]  # the shape in the file
    slots: int
    frame: int  # bytes
    stride: int
    header: int

    @classmethod
    def new(cls, shape: int | tuple[int, ...], dtype: Any, slots: int) -> Layout:  # noqa: ANN401 - as numpy takes it
        extent = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
        kind, name = dtype_of(dtype)
        if name is None:
            raise TypeError(f"{kind} has no name that other languages know")
        if not MIN_SLOTS <= slots <= MAX_SLOTS:
            raise ValueError(f"{slots} slots, {MIN_SLOTS} to {MAX_SLOTS} are possible")
        if len(extent) > MAX_RANK:
            raise ValueError(f"{len(extent)} dimensions, {MAX_RANK} are possible")
        frame = math.prod(extent) * BY_NAME[name].size
        header = _round_up(_FIXED_SIZE + _SLOT_ROW * slots)
        if min(extent, default=1) < 1 or header + slots * _round_up(frame) >= 1 << 63:
            raise ValueError(f"{slots} frames of {list(extent)} are empty or over 63 bits of bytes")
        return cls(name, extent, slots, frame, _round_up(frame), header)

    @classmethod
    def parse(cls, head: bytes, size: int, path: str) -> Layout:
        """Reads the beginning of a file of ``size`` bytes. Whoever wrote it may mean harm: everything that is
        used later is checked here, once, and kept."""

        def wrong(what: str) -> NotAStream:
            return NotAStream(f"{path} is no stream of version {_VERSION}: {what}")

        if len(head) < _FIXED.size or not head.startswith(_MAGIC):
            raise wrong(f"it does not begin with {_MAGIC.decode()}")
        _, version, header, slots, rank, frame, stride, raw, *extent = _FIXED.unpack_from(head)
        if version != _VERSION:
            raise wrong(f"it is of version {version}")
        if rank > MAX_RANK or not MIN_SLOTS <= slots <= MAX_SLOTS:
            raise wrong(f"it has {rank} dimensions and {slots} slots")
        name = raw.partition(b"\0")[0].decode("ascii", "replace")
        found = cls(name, tuple(extent[:rank]), slots, frame, stride, header)
        elements = math.prod(found.extent)
        known = BY_NAME.get(name)
        if known is not None:
            whole = frame == elements * known.size
        else:  # a type of blocks: rows of bytes
            whole = name.isprintable() and name != "" and frame % (math.prod(found.extent[:-1]) or 1) == 0
        if not elements or not frame or not whole:
            raise wrong(f"frames of {frame} bytes are no {name}{list(found.extent)}")
        if header < _FIXED_SIZE + _SLOT_ROW * slots or header % _PAGE or stride < frame or stride % _PAGE:
            raise wrong(f"a header of {header} bytes and slots of {stride} do not hold {slots} frames of {frame}")
        if found.size > size:
            raise wrong(f"it has {size} bytes and says {found.size}")
        return found

    @property
    def size(self) -> int:
        return self.header + self.slots * self.stride

    @property
    def dtype(self) -> np.dtype[Any]:
        return numpy_dtype(self.name)

    @property
    def shape(self) -> tuple[int, ...]:
        """As numpy has it: a type of blocks is rows of bytes."""
        if self.name in BY_NAME:
            return self.extent
        rows = self.extent[:-1]
        return (*rows, self.frame // math.prod(rows))

    def encode(self) -> bytes:
        extent = self.extent + (0,) * (MAX_RANK - len(self.extent))
        return _FIXED.pack(
            _MAGIC, _VERSION, self.header, self.slots, len(self.extent), self.frame, self.stride, self.name.encode(), *extent
        )  # fmt: skip


class Ring:
    """A stream's file in memory. See docs/streams.md for the order of every step."""

    __slots__ = ("_arrays", "_memory", "_pause", "_wake", "_words", "layout", "longs", "slots")

    def __init__(self, layout: Layout, memory: Bytes) -> None:
        self.layout = layout
        self.slots = layout.slots
        self.longs = memory[: layout.header].data.cast("Q")
        self._memory = memory
        self._words = memory[: layout.header].data.cast("I")
        self._wake = memory.ctypes.data + 4 * _WAKE
        self._pause = 0.0  # the last one; 0 while the system can wait for a word
        self._arrays: dict[int, Array] = {}

    @property
    def word(self) -> int:
        return self._words[_WAKE]

    @property
    def head(self) -> int:
        return self.longs[_HEAD]

    @property
    def generation(self) -> int:
        return self.longs[_GENERATION]

    def glance(self) -> tuple[int, int, int]:
        """The futex word, the state, and after them the head: no frame comes after the end."""
        words = self._words
        word, state = words[_WAKE], words[_STATE]
        if not ORDERED:
            fence()
        return word, state, self.longs[_HEAD]

    def array(self, n: int) -> Array:
        """The slot of frame n."""
        slot = (n - 1) % self.slots
        if slot not in self._arrays:
            layout = self.layout
            start = layout.header + slot * layout.stride
            self._arrays[slot] = self._memory[start : start + layout.frame].view(layout.dtype).reshape(layout.shape)
        array: Array = self._arrays[slot].view()
        return array

    def published(self, n: int) -> int:
        """When the frame in the slot of frame n was published: nanoseconds of the monotonic clock."""
        return self.longs[_TIME + (n - 1) % self.slots * (_SLOT_ROW // 8)]

    def whole(self, n: int) -> bool:
        """Whether frame n is whole in its slot, and was until now."""
        if not ORDERED:
            fence()  # what was read of the frame was read before
        return self.longs[_SEQUENCE + (n - 1) % self.slots * (_SLOT_ROW // 8)] == 2 * n

    def start(self) -> None:
        """A producer begins."""
        following = self.head + 1
        # The one before may have ended between a frame's last step and saying so.
        if following <= LAST_FRAME and self.whole(following):
            self.longs[_HEAD] = following
        self._words[_PRODUCER] = os.getpid() & 0xFFFFFFFF
        self.longs[_GENERATION] = (self.generation + 1) % (1 << 64)
        fence()
        self.end(OPEN)

    def begin(self) -> int:
        """Marks the slot of the next frame as being filled, and returns that frame's number."""
        n = self.longs[_HEAD] + 1
        if n > LAST_FRAME:
            raise NotAStream(f"{n - 1} frames were published, by what the file says")
        self.longs[_SEQUENCE + (n - 1) % self.slots * (_SLOT_ROW // 8)] = 2 * n - 1
        fence()  # nothing is written to the frame before
        return n

    def commit(self, n: int) -> None:
        longs, row = self.longs, (n - 1) % self.slots * (_SLOT_ROW // 8)
        longs[_TIME + row] = time.monotonic_ns()
        if not ORDERED:
            fence()  # all of the frame was written before
        longs[_SEQUENCE + row] = 2 * n
        if not ORDERED:
            fence()
        longs[_HEAD] = n
        # _tell, without a call: what is called here was last called a frame ago.
        if not ORDERED:
            fence()
        words = self._words
        words[_WAKE] = (words[_WAKE] + 1) & 0xFFFFFFFF
        _quick(_FUTEX, self._wake, _FUTEX_WAKE, _EVERYBODY)

    def end(self, state: int) -> None:
        """Changes the state, and wakes readers to see it."""
        self._words[_STATE] = state
        self._tell()

    def _tell(self) -> None:
        if not ORDERED:
            fence()
        self._words[_WAKE] = (self._words[_WAKE] + 1) & 0xFFFFFFFF
        self.rouse()

    def rouse(self) -> None:
        """Wakes all who wait for the word, in every process, without a change: they look and sleep again."""
        _quick(_FUTEX, self._wake, _FUTEX_WAKE, _EVERYBODY)

    def wait(self, word: int, seconds: float) -> None:
        """Sleeps while the futex word is ``word``, or for less. Where the system cannot wait so it pauses a
        little, each time for longer."""
        if not self._pause and _can_wait():
            limit = _Limit(*divmod(int(seconds * 1e9), 10**9))
            _sleeping(_FUTEX, self._wake, _FUTEX_WAIT, word, ctypes.addressof(limit))  # why it ends is all the same
            return
        self._pause = min(max(2 * self._pause, 20e-6), 1e-3)
        if self.word == word:
            time.sleep(min(self._pause, seconds))
        else:
            self._pause = 20e-6


def open_file(path: str, flags: int) -> tuple[int, Layout]:
    """Opens a file and reads what stream it is."""
    if not _FUTEX or sys.byteorder != "little":
        raise StreamError(errno.EOPNOTSUPP, f"streams on {sys.platform}, {platform.machine()}")
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO's open would wait
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise NotAStream(f"{path} is no regular file")
        return fd, Layout.parse(os.pread(fd, _FIXED_SIZE, 0), status.st_size, path)
    except BaseException:
        os.close(fd)
        raise


def make(path: str, layout: Layout, over: bool) -> tuple[int, Bytes]:
    """Makes a new file, locked, and gives it the name; FileExistsError if there is one, unless ``over``."""
    folder, name = os.path.split(os.path.abspath(path))
    # A name with a dot: a mount removes what a killed process leaves there.
    temporary = os.path.join(folder, f".{name[:200]}.{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        _reserve(fd, layout, path)
        os.pwrite(fd, layout.encode(), 0)
        lock(fd, path)
        memory = map_apart(fd, temporary)
        if memory is None:
            raise StreamError(errno.ESTALE, f"{temporary} was replaced while it was made")
        if over:
            os.rename(temporary, path)
        else:
            _rename_new(temporary, path)
        return fd, memory
    except BaseException:
        os.close(fd)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _reserve(fd: int, layout: Layout, path: str) -> None:
    try:
        os.ftruncate(fd, layout.size)
        os.posix_fallocate(fd, 0, layout.size)  # no room is an error now, not a SIGBUS later
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM):
            raise
        raise NoRoom(
            error.errno,
            f"a stream of {layout.slots} slots of {layout.stride / 1e6:.1f} MB at {path} does not fit: "
            f"have fewer slots, or more room (a session's quota)",
        ) from error


def _rename_new(source: str, target: str) -> None:
    names = ctypes.create_string_buffer(os.fsencode(source)), ctypes.create_string_buffer(os.fsencode(target))
    a, b = (ctypes.addressof(n) for n in names)
    if _renaming(_RENAMEAT2, _AT_FDCWD, a, _AT_FDCWD, b, _RENAME_NOREPLACE) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), source, None, target)


# The producer's lock is one of the open file, over all of it: a process's own would go with any other
# descriptor of the file that the process closes, and flock's could be taken by who may only read.
_FLOCK = struct.Struct("hhqqi4x")


def lock(fd: int, path: str) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0))
    except (BlockingIOError, PermissionError) as error:
        pid = int.from_bytes(os.pread(fd, 4, 4 * _PRODUCER), "little")
        raise StreamBusy(errno.EBUSY, f"{path} has a producer: process {pid}, by its own account") from error


def map_apart(fd: int, path: str) -> Bytes | None:
    """Maps the file of a descriptor through another one, opened by path: a mapping is a use of the open file,
    and would keep its lock in every child that is forked off. None if the path names another file now."""
    try:
        other = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        return map_shared(other, writable=True) if os.path.sameopenfile(fd, other) else None
    finally:
        os.close(other)


def is_locked(fd: int) -> bool:
    asked = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_RDLCK, 0, 0, 0, 0))
    return bool(_FLOCK.unpack(asked)[0] != fcntl.F_UNLCK)


def displaced(fd: int, path: str) -> bool:
    """Whether the path names another file now, or none. Who cannot look does not know, and goes on."""
    try:
        is_there = os.stat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return not os.path.samestat(is_there, os.fstat(fd))


def _round_up(n: int) -> int:
    return -(-n // _PAGE) * _PAGE
