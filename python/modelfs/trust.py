# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Whether what lies behind a descriptor may be unpickled: unpickling runs code.

All is asked of an opened descriptor, so that nothing can be exchanged between the
question and the use. A filesystem in user space can claim any owner, any mode and any
attribute, hence the question who mounted it, which the kernel answers.
"""

from __future__ import annotations

import os
import stat
from types import TracebackType

from modelfs.errors import UntrustedObject
from modelfs.mountpoint import FSTYPE, mounts

SEALED = "user.modelfs.sealed"

# A folder of another filesystem that stands for a mount in this package's own tests,
# where there is no daemon. Nothing outside the tests sets it.
_stand_in: str | None = None


class Folder:
    """A folder on a modelfs that root or this user mounted, else UntrustedObject. As long as it is held, what
    has its device lies on that mount: the number is no other filesystem's meanwhile."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            st = os.fstat(self._fd)
            check_mount(st, path)
        except BaseException:
            os.close(self._fd)
            raise
        self.device = st.st_dev

    def __enter__(self) -> Folder:  # noqa: PYI034 - Self is Python 3.11's
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)


def open_trusted(path: str, folder: Folder | None = None) -> int:
    """Opens a file for reading that may be unpickled, else UntrustedObject. The mount is not asked about
    again where a folder of it is held.

    Waits until it is sealed, and for nothing else: O_PATH opens a pipe or a device
    without touching it, and what is then opened is what was looked at.
    """
    seen = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        check(seen, path, folder)
        fd = os.open(f"/proc/self/fd/{seen}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(seen)
    try:
        _check_sealed(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def check(fd: int, path: str, folder: Folder | None = None) -> None:
    """Raises UntrustedObject unless a file was written by this user or root, on a mount of theirs."""
    st = os.fstat(fd)
    if not stat.S_ISREG(st.st_mode):
        raise UntrustedObject(f"{path} is not a regular file: it is not unpickled")
    if folder is None or st.st_dev != folder.device:
        check_mount(st, path)
    if st.st_uid not in (0, os.geteuid()):
        raise UntrustedObject(
            f"{path} was written by user {st.st_uid}, you are {os.geteuid()}: it is not unpickled", path
        )
    if st.st_mode & 0o022:
        raise UntrustedObject(
            f"{path} may be written by others (mode {st.st_mode & 0o777:o}): it is not unpickled", path
        )


def check_mount(st: os.stat_result, path: str) -> None:
    """Raises UntrustedObject unless a file lies on a modelfs that root or this user mounted."""
    if _stand_in is not None and st.st_dev == os.stat(_stand_in).st_dev:
        return
    entry = next((e for e in reversed(mounts(st.st_dev)) if e.device == st.st_dev), None)
    if entry is None or entry.kind != FSTYPE:
        kind = "an unknown filesystem" if entry is None else f"a filesystem of type {entry.kind}"
        raise UntrustedObject(f"{path} lies on {kind}, not on {FSTYPE}: it is not unpickled", path)
    if entry.user not in (0, os.geteuid()):
        raise UntrustedObject(
            f"{entry.point} was mounted by user {entry.user}, you are {os.geteuid()}: "
            f"who mounts a filesystem can claim any owner for {path}, so it is not unpickled",
            path,
        )


def _check_sealed(fd: int, path: str) -> None:
    if _stand_in is not None:
        return
    try:
        sealed = os.getxattr(fd, SEALED) == b"1"
    except OSError:
        sealed = False
    if not sealed:
        raise UntrustedObject(f"{path} is not sealed, somebody may still write it: it is not unpickled", path)
