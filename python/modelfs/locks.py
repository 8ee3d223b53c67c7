# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""One at a time across processes: flock(2) on a file, which the kernel releases with its holder.

A forked child inherits the open file description, and with it the lock: it would wait for
itself, and keep the lock when its parent ends. So the child closes what its parent holds.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Iterator

_opening = threading.Lock()  # held around an open and its note, and while the process forks
_held: set[int] = set()  # descriptors that a forked child must not keep


def _in_child() -> None:
    for fd in _held:
        with contextlib.suppress(OSError):
            os.close(fd)
    _held.clear()
    _opening.release()


os.register_at_fork(before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_in_child)


def _open(path: str) -> int:
    """Between the look at a name and the open its holder may take the file away. The kernel looks once more by itself,
    and gives up when that happens again: many processes that each lock, work and remove are that fast."""
    for tries in range(100, -1, -1):
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            if error.errno != errno.ESTALE or not tries:
                raise
    raise AssertionError


class FileLock:
    """A lock of this process. In a child that was forked meanwhile it is none, and nothing happens to it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._pid = os.getpid()
        with _opening:
            self._fd = _open(path)
            _held.add(self._fd)

    def acquire(self) -> bool:
        """Waits for the lock; signals are handled meanwhile. False if the file was taken away, or exchanged."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self._path, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Takes the file away. Who waits for it notices, and asks for the new one."""
        if self._mine():
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def release(self) -> None:
        if self._mine():
            with _opening:
                _held.discard(self._fd)
                os.close(self._fd)

    def _mine(self) -> bool:
        return self._pid == os.getpid() and self._fd in _held


@contextlib.contextmanager
def locked(path: str) -> Iterator[FileLock]:
    """Holds the lock on a file, which is made if need be."""
    while True:
        lock = FileLock(path)
        try:
            if lock.acquire():
                yield lock
                return
        finally:
            lock.release()
