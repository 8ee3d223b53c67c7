# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""get_or_load: one load for a key, in this process and among all, and the same memory for everyone."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
import os
import secrets
import stat
import warnings
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np

from modelfs import container, keys, publish, rebind, rebuild
from modelfs import trust as trusting
from modelfs.errors import ModelfsError, MountNotFound, NoRoom, UnreadableObject
from modelfs.flight import Flights
from modelfs.locks import locked
from modelfs.mapping import Bytes, map_private
from modelfs.mountpoint import ENVIRONMENT, Mount
from modelfs.pickling import Skeleton, skeleton_of
from modelfs.tensor import Tensor
from modelfs.ttl import ATTRIBUTE, TTL, seconds_of, text_of

T = TypeVar("T")
MountLike = str | os.PathLike[str] | Mount | None
Ident = tuple[object, ...]  # what a call is known by in this process

_UNFINISHED = ".tmp"  # how the name of a file ends that is being written
_LOAD_FN = 2  # where the identity of load_fn is in what a call is known by

_flights: Flights[object] = Flights()
_private: set[Hashable] = set()  # what was loaded without a mount
_warned: set[str] = set()


def get_or_load(
    key: str,
    load_fn: Callable[[], T],
    *,
    mount: MountLike = None,
    ttl: TTL | None = None,
    trust: str = "owner",
    version: str | int | None = None,
    required: bool = False,
) -> T:
    """The object that load_fn makes, loaded once on this machine and shared by all of a user's processes.

    Of all the processes that ask for a key one runs ``load_fn``. The others get the same object over
    the same memory: every tensor and array lies in one file of the mount, mapped privately, so that
    what a process writes into them is its own. Within a process it is one object.

    ``load_fn`` is part of the key by its code and the plain values bound to it; ``version`` is for
    what that does not show, such as new weights under the old name. ``ttl`` (seconds) is how long the
    object stays when nobody uses it, told when it is made.

    Where there is no mount, or no room in it, the process warns once and keeps what it loaded for
    itself; ``required=True`` raises instead. ``trust="owner"``: only what this user or root wrote is
    unpickled, else UntrustedObject. NotShareable says what in an object cannot be given to others.
    What load_fn raises goes to the caller that ran it, and one of those who wait takes its turn.
    """
    ident = _ident(key, version, load_fn, mount)
    try:
        found = _flights.loaded[ident]  # the short way, without a lock
        if not (required and _forget_private(ident)):
            return cast(T, found)
    except KeyError:
        pass
    job = _Job(key, load_fn, mount, ttl, trust, version, required, ident)
    return cast(T, _flights.run(ident, job.run))


async def aget_or_load(
    key: str,
    load_fn: Callable[[], T] | Callable[[], Awaitable[T]],
    *,
    mount: MountLike = None,
    ttl: TTL | None = None,
    trust: str = "owner",
    version: str | int | None = None,
    required: bool = False,
) -> T:
    """get_or_load for asyncio: the loop goes on while it loads or waits, in one thread for any number of tasks.

    ``load_fn`` may be a coroutine function, which then runs in the caller's loop.
    """
    ident = _ident(key, version, load_fn, mount)
    if ident in _flights.loaded and not (required and _forget_private(ident)):
        return cast(T, _flights.loaded[ident])
    loop = asyncio.get_running_loop()

    def load() -> T:
        made = load_fn()
        return asyncio.run_coroutine_threadsafe(made, loop).result() if inspect.iscoroutine(made) else cast(T, made)

    job = _Job(key, load, mount, ttl, trust, version, required, ident)
    return cast(T, await _flights.arun(ident, job.run))


def release(key: str) -> bool:
    """Lets go of a key's object in this process; who holds it keeps it, and the mount keeps it for others."""
    return _flights.forget_all(lambda ident: isinstance(ident, tuple) and ident[0] == key) > 0


def tensors_of(path: str) -> dict[str, Tensor]:
    """The tensors of a shared object's file, or of any safetensors file, whoever wrote it: they are data,
    nothing is run. They are read into this process's memory, since who can write the file could change
    or shorten it at any time."""
    memory = _read(path)
    found = {}
    for t in container.describe(memory.data):
        place = (memory, t.offset)
        found[t.name] = Tensor(t.name, t.dtype, t.shape, None, t.nbytes, lambda p=place: p)  # type: ignore[misc]
    return found


def _read(path: str) -> Bytes:
    seen = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(seen).st_mode):
            raise UnreadableObject(f"{path} is not a regular file")
        with open(f"/proc/self/fd/{seen}", "rb", buffering=0) as file:
            memory = np.empty(os.fstat(seen).st_size, np.uint8)
            got = 0
            while got < memory.size and (n := file.readinto(memory.data[got:])):
                got += n
            return memory[:got]
    finally:
        os.close(seen)


def _ident(key: str, version: str | int | None, load_fn: Callable[[], object], mount: MountLike) -> Ident:
    named = os.environ.get(ENVIRONMENT) if mount is None else mount
    return (key, version, keys.identity(load_fn), named)


def _forget_private(ident: Hashable) -> bool:
    """A caller that requires sharing is not content with what an earlier one kept for itself."""
    if ident not in _private:
        return False
    _private.discard(ident)
    _flights.forget(ident)
    return True


@dataclass
class _Job:
    """One call's way to its object, when the process does not have it yet."""

    key: str
    load_fn: Callable[[], object]
    mount: MountLike
    ttl: TTL | None
    trust: str
    version: str | int | None
    required: bool
    ident: Ident

    def run(self) -> object:
        if self.trust != "owner":
            raise ValueError(f'trust={self.trust!r}: there is "owner" only, what this user or root wrote')
        if self.ttl is not None:
            seconds_of(self.ttl)  # what is wrong with it is said before anything is loaded
        try:
            mount = self.mount if isinstance(self.mount, Mount) else Mount.find(self.mount)
            folder = objects_folder(mount)
        except MountNotFound as error:
            return self._alone(self._made, error)
        name = keys.object_path(self.key, keys.digest(self.ident[_LOAD_FN], self.version))
        path = os.path.join(folder.path, name)
        with folder:
            found = attach(path, folder)
        return found[0] if found else self._load(mount, path)

    def _load(self, mount: Mount, path: str) -> object:
        folder, name = os.path.split(path)
        stem = os.path.join(folder, keys.temporary_stem(name))
        try:
            os.makedirs(folder, 0o700, exist_ok=True)
        except OSError as error:
            return self._alone(self._made, MountNotFound(error.errno, f"cannot write to {folder}: {error.strerror}"))
        with locked(stem + ".lock") as lock:
            found = attach(path)
            if found is None:
                _remove_unfinished(stem)
                found = (self._publish(mount, path, stem),)
            lock.remove()
            return found[0]

    def _publish(self, mount: Mount, path: str, stem: str) -> object:
        made = self._made()
        skeleton = skeleton_of(made)
        try:
            _write(path, f"{stem}.{secrets.token_hex(8)}{_UNFINISHED}", made, skeleton, self.ttl)
        except OSError as error:
            return self._alone(lambda: made, _explained(mount, path, skeleton, error))
        fd = trusting.open_trusted(path)
        try:
            memory = map_private(fd)
        finally:
            os.close(fd)
        rebound = rebind.rebind(skeleton, rebuild.parts(memory)) if skeleton.tensors else True
        in_place = rebound and skeleton.in_place
        del skeleton  # which holds the own copy
        if not in_place:
            made = _load_mapped(memory, path)  # what cannot be rebound is what the others get
        rebind.return_memory()
        return made

    def _made(self) -> object:
        made = self.load_fn()
        if inspect.iscoroutine(made):
            made.close()
            raise TypeError(f"the load_fn of {self.key!r} is a coroutine function: use `await modelfs.aget_or_load(…)`")
        return made

    def _alone(self, load: Callable[[], object], why: ModelfsError) -> object:
        """The object without sharing."""
        if self.required:
            raise why
        text = f"{self.key!r} is loaded by this process for itself: {why}"
        if str(why) not in _warned:
            _warned.add(str(why))
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        made = load()
        _private.add(self.ident)
        return made


def objects_folder(mount: Mount) -> trusting.Folder:
    """The folder of this user's objects, held. MountNotFound if there is none, UntrustedObject if the mount is
    not one of root's or this user's: nothing is given to such a one, and nothing taken."""
    path = mount.path("objects", str(os.geteuid()))
    try:
        with mount.explained():
            return trusting.Folder(path)
    except FileNotFoundError as error:
        why = f"{mount.point} has no folder objects: its modelfs cannot share objects"
        raise MountNotFound(errno.ENOENT, why) from error


def attach(path: str, folder: trusting.Folder | None = None) -> tuple[object] | None:
    """The object of a file, once it is sealed; None if there is none. The folder is one that is held of the
    same mount."""
    try:
        fd = trusting.open_trusted(path, folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ESTALE:  # it went between the look and the open
            return None
        raise
    try:
        memory = map_private(fd)
    finally:
        os.close(fd)
    return (_load_mapped(memory, path),)


def _load_mapped(memory: Bytes, path: str) -> object:
    try:
        return rebuild.load(memory)
    except (ImportError, AttributeError) as error:
        why = "What made the object has modules or versions that this process lacks: import the same"
        cause: Exception = error
    except Exception as error:  # noqa: BLE001 - unpickling raises anything
        why = (
            "The file is damaged, or of other versions than this process has: remove it, and the object is loaded again"
        )
        cause = error
    raise UnreadableObject(f"{path}: {type(cause).__name__}: {cause}. {why}, or give another version=") from cause


def _remove_unfinished(stem: str) -> None:
    """Takes away what loaders that were killed have left: this process holds the lock, so nobody writes it."""
    folder, name = os.path.split(stem)
    for entry in os.listdir(folder):
        if entry.startswith(name + ".") and entry.endswith(_UNFINISHED):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, entry))


def _write(path: str, unfinished: str, made: object, skeleton: Skeleton, ttl: TTL | None) -> None:
    """Makes the file under a temporary name and gives it its own when it is whole."""
    fd = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            publish.write(fd, made, skeleton)
            if ttl is not None:
                os.setxattr(fd, ATTRIBUTE, text_of(ttl))
        finally:
            os.close(fd)
        os.rename(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise


def _explained(mount: Mount, path: str, skeleton: Skeleton, error: OSError) -> ModelfsError:
    size = sum(s.storage.nbytes() for s in skeleton.storages) + sum(a.array.nbytes for a in skeleton.arrays)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EFBIG):
        return MountNotFound(error.errno, f"cannot write {path}: {error.strerror}")
    free = "an unknown number of"
    with contextlib.suppress(OSError):
        st = os.statvfs(mount.point)
        free = str(st.f_bavail * st.f_frsize // 1_000_000)
    return NoRoom(
        error.errno,
        f"it needs {size // 1_000_000} MB and {mount.point} has {free} MB free: "
        "evict something (`modelfs ps` says who uses what), or mount with a larger --memory",
    )
