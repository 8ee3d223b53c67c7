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

from modelfs.errors import UntrustedObject
from modelfs.mountpoint import FSTYPE, mounts

SEALED = "user.modelfs.sealed"

# A folder of another filesystem that stands for a mount in this package's own tests,
# where there is no daemon. Nothing outside the tests sets it.
_stand_in: str | None = None


def open_trusted(path: str) -> int:
    """Opens a file for reading that may be unpickled, else UntrustedObject.

    Waits until it is sealed, and for nothing else: O_PATH opens a pipe or a device
    without touching it, and what is then opened is what was looked at.
    """
    seen = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        check(seen, path)
        fd = os.open(f"/proc/self/fd/{seen}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(seen)
    try:
        _check_sealed(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def check(fd: int, path: str) -> None:
    """Raises UntrustedObject unless a file was written by this user or root, on a mount of theirs."""
    st = os.fstat(fd)
    if not stat.S_ISREG(st.st_mode):
        raise UntrustedObject(f"{path} is not a regular file: it is not unpickled")
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
    entry = next((e for e in reversed(mounts()) if e.device == st.st_dev), None)
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
