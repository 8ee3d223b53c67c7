# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Memory of a client that servers see: files in a session of its own.

A region holds one tensor at a time. One for an input is free again when its call is answered. One for an output
is the caller's for as long as an array looks at it. One whose call failed is never used again: its attempt may
still be reading or writing there. Its file is removed, and its memory goes when the last who has it lets go."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import weakref
from collections import defaultdict

import numpy as np

from modelfs.errors import SessionError
from modelfs.mapping import Bytes, map_shared
from modelfs.mountpoint import Mount
from modelfs.session import Session

_LEAST = 64 << 10
_IDLE = 256 << 20  # bytes of regions that are kept though nobody uses them


class Region:
    """A file of a session, mapped."""

    __slots__ = ("memory", "path", "where")

    def __init__(self, where: str, path: str, size: int) -> None:
        self.where, self.path = where, path  # in the file system, and below the mount
        fd = os.open(where, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, size)  # the room is taken here, or refused
            self.memory: Bytes = map_shared(fd, writable=True)
        except OSError:
            self.remove()
            raise
        finally:
            os.close(fd)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.where)


class Regions:
    """The regions of one client."""

    def __init__(self, mount: Mount) -> None:
        self.session = Session(f"client-{os.getpid()}-{secrets.token_hex(4)}", mount=mount, mode=0o700)
        self.session.make()
        self._pid = os.getpid()
        self._end = weakref.finalize(self, _delete, self.session, self._pid)  # also at the process's end
        self._lock = threading.Lock()
        self._free: dict[int, list[Region]] = defaultdict(list)
        self._idle = 0
        self._made = 0
        self._closed = False

    def take(self, nbytes: int) -> Region:
        """A region of at least so many bytes. OSError: there is no room for it."""
        if os.getpid() != self._pid:
            raise OSError("the regions are those of the process that this one was forked from")
        size = _size_for(nbytes)
        with self._lock:
            if self._free[size]:
                self._idle -= size
                return self._free[size].pop()
            self._made += 1
            name = f"r{self._made}"
        return Region(os.path.join(self.session.path, name), f"sessions/{self.session.name}/{name}", size)

    def give(self, region: Region) -> None:
        """Gives back one that nobody uses any more."""
        size = region.memory.nbytes
        with self._lock:
            if not self._closed and self._idle + size <= _IDLE:
                self._idle += size
                self._free[size].append(region)
                return
        region.remove()

    def view(self, region: Region, nbytes: int) -> Bytes:
        """The bytes of a region; it is given back when the last array of them is gone."""
        whole: Bytes = np.asarray(region.memory.base)  # what every view of it holds
        ended = weakref.finalize(whole, self.give, region)
        ended.atexit = False  # the session goes with the process
        return whole[:nbytes]

    def close(self) -> None:
        """Removes the session; arrays that look at a region stay what they are."""
        with self._lock:
            self._closed = True
            self._free.clear()
        self._end()


def _delete(session: Session, pid: int) -> None:
    """Removes a session, unless this process was forked from the one whose it is."""
    if os.getpid() == pid:
        with contextlib.suppress(OSError, SessionError):
            session.delete()
    session.close()


def _size_for(nbytes: int) -> int:
    """One of few sizes, so that regions fit again: eight between a power of two and the next."""
    if nbytes <= _LEAST:
        return _LEAST
    step = 1 << max((nbytes - 1).bit_length() - 4, 12)
    return (nbytes + step - 1) // step * step
