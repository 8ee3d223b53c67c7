# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Sessions: writable tensors of one producer, which others see as they are written."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import secrets
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np

from modelfs.dtypes import dtype_of
from modelfs.errors import ModelfsError, MountNotFound, NoRoom, SessionError
from modelfs.keys import escape_path
from modelfs.located import remember
from modelfs.mapping import Bytes, map_shared
from modelfs.mountpoint import Mount
from modelfs.ring import Layout
from modelfs.stream import Stream, StreamReader, StreamWriter
from modelfs.ttl import ATTRIBUTE, TTL, text_of

Array = np.ndarray[Any, Any]
Size = int | str

_QUOTA = "user.modelfs.quota"
_DTYPE, _SHAPE = "user.modelfs.dtype", "user.modelfs.shape"
_MAGIC = b"\x93NUMPY"
_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}


class Session:
    """A folder ``sessions/<name>`` of the mount. The producer makes it, by ``create`` or ``stream`` or ``make``: who
    only looks does not, since it would be his then.

    A tensor of a session is a file: its bytes and nothing else, row-major, or an NPY file if its name ends
    in ``.npy``. All who map it see it being written; there is no lock. ``quota`` (bytes, or "2GiB") is what
    all its files together may take; idle, with nothing of it open or mapped, for ``ttl`` seconds it goes.
    This object keeps the folder open, so that the session stays while it is there. ``mode`` is the folder's.
    """

    def __init__(
        self,
        name: str,
        *,
        quota: Size | None = None,
        ttl: TTL | None = None,
        mode: int = 0o700,
        mount: str | os.PathLike[str] | Mount | None = None,
    ) -> None:
        self.name, self._mode = name, mode
        component, self._settings = _component(name), _settings(quota, ttl)
        self.mount = mount if isinstance(mount, Mount) else Mount.find(mount)
        self.path = self.mount.path("sessions", component)
        self._close: weakref.finalize[[int], Session] | None = None
        try:
            self._hold()
        except SessionError as error:
            if error.errno != errno.ENOENT:
                raise

    def make(self) -> None:
        """Makes the folder if it is not there, for who writes files there himself."""
        with self._explained("make"):
            try:
                os.mkdir(self.path, self._mode)
            except FileExistsError:
                if self._close is None:
                    self._hold()
                return
            try:
                self._hold()
            except BaseException:  # such as a quota that there is no room for
                with contextlib.suppress(OSError):
                    os.rmdir(self.path)
                raise

    def _hold(self) -> None:
        """Keeps the folder open, with the settings of this object."""
        self.close()
        with self._explained("open"):
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._close = weakref.finalize(self, os.close, fd)
        for attribute, value in self._settings.items():
            with self._explained(f"set {attribute.rpartition('.')[2]}={value.decode()} of"):
                os.setxattr(fd, attribute, value)

    def __repr__(self) -> str:
        return f"<modelfs.Session {self.name} at {self.path}>"

    def path_of(self, name: str) -> str:
        """The file of a tensor; names are escaped as those of models' tensors are."""
        if name.startswith("."):
            raise ValueError(f"{name!r}: names that begin with a dot are temporary")
        return os.path.join(
            self.path, escape_path(name) if not name.endswith(".npy") else escape_path(name[:-4]) + ".npy"
        )

    def create(self, name: str, shape: int | tuple[int, ...], dtype: Any = np.float32) -> Array:  # noqa: ANN401 - as numpy takes it
        """A new tensor of zeros, to be written. Under the name of an old one it takes its place; who has that keeps it."""
        shape = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
        if min(shape, default=0) < 0:
            raise ValueError(f"a tensor of shape {shape}: no dimension is negative")
        kind, known = dtype_of(dtype)
        if kind.hasobject:
            raise TypeError(f"{kind} holds Python objects, which no other process has")
        if kind.names is not None and not name.endswith(".npy"):
            raise TypeError(f"{kind} needs an NPY file, which says what it is: create({name + '.npy'!r}, …)")
        header = _npy_header(shape, kind) if name.endswith(".npy") else b""
        path = self.path_of(name)
        folder, file = os.path.split(path)
        temporary = os.path.join(folder, f".{file[:200]}.{secrets.token_hex(8)}")
        size = len(header) + math.prod(shape) * kind.itemsize
        self.make()
        with self._explained(f"make {name!r} of {_text(size)} in"):
            os.makedirs(folder, 0o755, exist_ok=True)
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                os.ftruncate(fd, size)  # the room is taken here, or refused
                if header:
                    os.pwrite(fd, header, 0)
                else:
                    _describe(fd, path, shape, known or kind.str)
                memory = map_shared(fd, writable=True)
                inode = os.fstat(fd).st_ino
                os.rename(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
            finally:
                os.close(fd)
        array = _array(memory, len(header), shape, kind, "C")
        remember(memory, array, path, inode)
        return array

    def open(self, name: str, *, writable: bool = False) -> Array:
        """A tensor of the session as it is being written. Any file of it will do: one that says nothing of
        its type is bytes."""
        with self._explained(f"open {name!r} in"):
            fd = os.open(self.path_of(name), (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
            try:
                memory = map_shared(fd, writable=writable)
                inode = os.fstat(fd).st_ino
                offset, shape, kind, order = self._layout(fd, self.path_of(name), memory)
            finally:
                os.close(fd)
        size = offset + math.prod(shape) * kind.itemsize
        if size > memory.size:
            raise SessionError(
                errno.EINVAL, f"{self.path_of(name)} says it is {_text(size)} and has {_text(memory.size)}"
            )
        array = _array(memory, offset, shape, kind, order)
        remember(memory, array, self.path_of(name), inode)
        return array

    def stream(
        self,
        name: str,
        shape: int | tuple[int, ...] | None = None,
        dtype: Any = np.float32,  # noqa: ANN401 - as numpy takes it
        slots: int = 4,
    ) -> StreamWriter | StreamReader:
        """Frames from one process to others: with a shape the producer's end of a stream, without one a reader's."""
        path = self.path_of(name)
        if shape is None:
            with self._explained(f"open the stream {name!r} in"):
                return Stream.open(path)
        layout = Layout.new(shape, dtype, slots)
        self.make()
        with self._explained(f"make the stream {name!r} in"):
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            return Stream.create(path, layout.extent, layout.name, layout.slots)

    def remove(self, name: str) -> None:
        """Takes a tensor away; who has it keeps it."""
        with self._explained(f"remove {name!r} from"):
            os.unlink(self.path_of(name))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_beside(self.path_of(name)))

    def tensors(self) -> list[str]:
        """The files at the top of the session, without those that are temporary."""
        with self._explained("list"):
            return sorted(e.name for e in os.scandir(self.path) if not e.name.startswith(".") and e.is_file())

    def delete(self) -> None:
        """Takes the whole session away; who maps something of it keeps that."""
        import shutil

        with self._explained("remove"):
            shutil.rmtree(self.path)
        self.close()

    def close(self) -> None:
        """Lets the session go when it is idle; what is mapped of it still keeps it."""
        if self._close is not None:
            self._close()
            self._close = None

    def __enter__(self) -> Session:  # noqa: PYI034 - Self is Python 3.11's
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _layout(self, fd: int, path: str, memory: Bytes) -> tuple[int, tuple[int, ...], np.dtype[Any], str]:
        """Where the array begins in a file, and what it is."""
        if memory[: len(_MAGIC)].tobytes() == _MAGIC:
            return _parse_npy(fd)
        described = _described(fd, path)
        if described is None:
            return 0, (memory.size,), np.dtype(np.uint8), "C"
        return 0, *described, "C"

    @contextlib.contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            with self.mount.explained():
                yield
        except ModelfsError:
            raise
        except OSError as error:
            raise self._error(what, error) from error

    def _error(self, what: str, error: OSError) -> Exception:
        start = f"cannot {what} session {self.name!r} of {self.mount.point}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM):
            return NoRoom(
                error.errno, f"{start}: {self._room()}; remove() what is not needed, or give it a larger quota"
            )
        if error.errno in (errno.ENOENT, errno.ENOTDIR) and not os.path.isdir(self.mount.path("sessions")):
            return MountNotFound(error.errno, f"{self.mount.point} has no folder sessions: its modelfs has none")
        if error.errno == errno.ENOENT:
            what = "file" if os.path.isdir(self.path) else "session"
            return SessionError(error.errno, f"{start}: there is no such {what}")
        if error.errno in (errno.EACCES, errno.EPERM):
            return SessionError(error.errno, f"{start}: it belongs to somebody else, and its mode does not let you")
        return SessionError(error.errno, f"{start}: {error.strerror}")

    def _room(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            quota = int(os.getxattr(self.path, _QUOTA))
            used = sum(os.stat(os.path.join(d, f)).st_size for d, _, files in os.walk(self.path) for f in files)
            return f"it has {_text(used)} of a quota of {_text(quota)}"
        st = os.statvfs(self.mount.point)
        return f"{_text(st.f_bavail * st.f_frsize)} of the mount's memory are free"


def size_of(size: Size) -> int:
    """Bytes, or a text such as "512MiB"."""
    nbytes = size if isinstance(size, int) else _parse_size(size)
    if nbytes < 0:
        raise ValueError(f"{size!r}: a size cannot be negative")
    return nbytes


def _parse_size(size: str) -> int:
    digits = size.strip().rstrip("abgikmtABGIKMT").rstrip()
    unit = size.strip()[len(digits) :].strip().upper()
    try:
        return int(float(digits) * _UNITS[unit])
    except (ValueError, OverflowError, KeyError):
        raise ValueError(f"{size!r} is no size: say it as 1073741824, 512MiB or 1GiB") from None


def _settings(quota: Size | None, ttl: TTL | None) -> dict[str, bytes]:
    """The attributes of a session's folder that were asked for."""
    settings = {}
    if quota is not None:
        settings[_QUOTA] = str(size_of(quota)).encode()
    if ttl is not None:
        settings[ATTRIBUTE] = text_of(ttl)
    return settings


def _text(size: int) -> str:
    return f"{size} bytes" if size < 1_000_000 else f"{size / 1e6:.1f} MB"


def _component(name: str) -> str:
    if not name or "/" in name or "\0" in name or name.startswith("."):
        raise ValueError(f"{name!r} is no name of a session: one folder, which does not begin with a dot")
    return name


def _describe(fd: int, path: str, shape: tuple[int, ...], dtype: str) -> None:
    """Notes what a file without a header is: as attributes, or beside it where files take none."""
    try:
        os.setxattr(fd, _DTYPE, dtype.encode())
        os.setxattr(fd, _SHAPE, json.dumps(shape, separators=(",", ":")).encode())
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP):
            raise
        beside = _beside(path)
        with open(beside + ".new", "w") as file:
            json.dump({"dtype": dtype, "shape": shape}, file)
        os.rename(beside + ".new", beside)


def _described(fd: int, path: str) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    try:
        name, shape = os.getxattr(fd, _DTYPE).decode(), json.loads(os.getxattr(fd, _SHAPE))
    except OSError:
        try:
            with open(_beside(path)) as file:
                said = json.load(file)
        except FileNotFoundError:
            return None
        name, shape = said["dtype"], said["shape"]
    return tuple(shape), dtype_of(name)[0]


def _beside(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name[:200]}.tensor")


def _array(memory: Bytes, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], order: Any) -> Array:  # noqa: ANN401
    if not math.prod(shape) or not dtype.itemsize:
        return np.empty(shape, dtype, order)
    return np.frombuffer(memory, dtype, math.prod(shape), offset).reshape(shape, order=order)


def _npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """NPY 1.0, padded so that the data begins at a page, as the mount's own .npy files are."""
    descr = np.lib.format.dtype_to_descr(dtype)
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    return _MAGIC + b"\x01\x00" + (4096 - 10).to_bytes(2, "little") + text + b" " * (4096 - 11 - len(text)) + b"\n"


def _parse_npy(fd: int) -> tuple[int, tuple[int, ...], np.dtype[Any], str]:
    with open(os.dup(fd), "rb") as file:
        file.seek(0)
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.hasobject:
            raise SessionError(errno.EINVAL, "it holds Python objects, which are not loaded")
        return file.tell(), shape, dtype, "F" if fortran else "C"
