# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Where the mount is: named, or found in the kernel's mount table as the command line does it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modelfs.errors import MountNotFound

FSTYPE = "fuse.modelfs"
ENVIRONMENT = "MODELFS_MOUNT"

_START = "start one with `modelfs mount --models FOLDER MOUNT`"


@dataclass(frozen=True)
class Entry:
    """One line of mountinfo, see proc_pid_mountinfo(5)."""

    id: int
    device: int  # as st_dev has it
    root: str  # what of the filesystem is mounted there: "/" but for bind mounts
    point: str
    kind: str
    options: str  # the filesystem's own, user_id= among them

    @property
    def user(self) -> int | None:
        """The user that a FUSE filesystem was mounted for: the kernel says so, not the filesystem."""
        for option in self.options.split(","):
            name, _, value = option.partition("=")
            if name == "user_id" and value.isdecimal():
                return int(value)
        return None


def parse(table: str) -> list[Entry]:
    """The entries of a mount table in the order of mounting. Lines that are not as documented are left out."""
    entries = []
    for line in table.splitlines():
        # 36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        left, separator, right = line.partition(" - ")
        before, after = left.split(" "), right.split(" ")
        if not separator or len(before) < 6 or len(after) < 3:
            continue
        with contextlib.suppress(ValueError):
            major, minor = map(int, before[2].split(":"))
            device = os.makedev(major, minor)
            entries.append(
                Entry(int(before[0]), device, _unescape(before[3]), _unescape(before[4]), after[0], after[2])
            )
    return entries


def mounts(device: int | None = None) -> list[Entry]:
    """The mounts that this process sees; those of one device alone if that is named, since a machine
    with containers has hundreds."""
    with open("/proc/self/mountinfo", "rb", buffering=0) as file:
        table = os.fsdecode(file.read())
    if device is not None:
        field = f" {os.major(device)}:{os.minor(device)} "
        return parse("\n".join(line for line in table.split("\n") if field in line))
    return parse(table)


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text) if "\\" in text else text


def trusted(entries: list[Entry], uid: int) -> tuple[list[Entry], list[Entry]]:
    """The modelfs mounts of root or of a user, one for each filesystem, and those of others:
    anybody may mount something that calls itself modelfs."""
    top = {e.point: e.id for e in entries}
    own: dict[int, Entry] = {}
    others: dict[int, Entry] = {}
    for e in entries:
        if e.kind == FSTYPE and e.root == "/" and top[e.point] == e.id:
            (own if e.user in (0, uid) else others).setdefault(e.device, e)
    return list(own.values()), list(others.values())


def choose(entries: list[Entry], uid: int) -> str:
    """The only mount that may be used without being named."""
    own, others = trusted(entries, uid)
    if len(own) == 1:
        return own[0].point
    if own:
        points = ", ".join(e.point for e in own)
        raise MountNotFound(f"several modelfs mounts: {points}; say which with mount= or {ENVIRONMENT}")
    if others:
        points = ", ".join(e.point for e in others)
        raise MountNotFound(f"no modelfs mount of root or of yours, only {points}; name one to use it, if you trust it")
    raise MountNotFound(f"no modelfs mount found: {_START}, or name it with mount= or {ENVIRONMENT}")


@dataclass(frozen=True)
class Mount:
    """A place where modelfs is mounted. Making one asks nothing of it."""

    point: str

    @classmethod
    def find(cls, mount: str | os.PathLike[str] | None = None) -> Mount:
        """The mount that is named, that MODELFS_MOUNT names, or the only one of root's or one's own."""
        named = os.fspath(mount) if mount is not None else os.environ.get(ENVIRONMENT)
        return cls(os.path.abspath(named) if named else choose(mounts(), os.geteuid()))

    def path(self, *parts: str) -> str:
        return os.path.join(self.point, *parts)

    def status(self) -> dict[str, Any]:
        """What .modelfs/status.json says; MountNotFound if nothing answers there."""
        return dict(self.report("status.json"))

    def report(self, name: str) -> Any:  # noqa: ANN401 - it is JSON
        """One of the daemon's reports in .modelfs."""
        with self.explained(), open(self.path(".modelfs", name), encoding="utf-8") as file:
            return json.load(file)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Rewords what the kernel says of a mount that does not answer."""
        try:
            yield
        except MountNotFound:
            raise
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                why = f"the daemon of {self.point} died: `modelfs umount {self.point}`, then mount it again"
            elif error.errno in (errno.ENOENT, errno.ENOTDIR) and not os.path.exists(self.path(".modelfs")):
                why = f"no modelfs mount at {self.point}: {_START.replace('MOUNT', self.point)}"
            elif error.errno == errno.EACCES and not os.access(self.point, os.X_OK):
                why = f"{self.point} does not let you in: mount it with --allow-other, or ask as its user"
            else:
                raise
            raise MountNotFound(error.errno, why) from error
