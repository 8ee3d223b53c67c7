# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""A model of the mount: its tensors by name, over one mapping per weight file."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from modelfs import collecting, index
from modelfs.dtypes import torch_carrier, torch_dtype
from modelfs.errors import ModelBusy, ModelError, ModelNotFound, MountNotFound
from modelfs.mapping import Bytes, map_private_path
from modelfs.mountpoint import Mount
from modelfs.tensor import Array, Tensor

if TYPE_CHECKING:
    from torch import Tensor as TorchTensor
    from torch.nn import Module

VARIANTS = ("f32", "f16", "bf16")


@dataclass(frozen=True)
class _Place:
    """Where the model is in the mount."""

    mount: Mount
    name: str  # as it was asked for: MODEL, or MODEL/FILE for one checkpoint of several
    variant: str | None

    @property
    def label(self) -> str:
        return f"{self.name}@{self.variant}" if self.variant else self.name

    @property
    def tensors(self) -> str:
        return self.mount.path("tensors", self.label)


class _Generation:
    """One content of a model: its index, and what of it is mapped. It outlives the Model as long as
    a Tensor of it is there."""

    def __init__(self, place: _Place) -> None:
        self.place = place
        with _explained(place):
            self.index = index.read(place.tensors)
        if self.index.error:
            raise ModelError(f"{place.label}: {self.index.error}")
        self.id = self.index.generation
        self.model = self.index.model.removesuffix(f"@{place.variant}")
        self._lock = threading.Lock()
        self._maps: dict[str, Bytes] = {}  # by path; guarded by _lock, but for a look

    def tensor(self, name: str) -> Tensor:
        """A tensor that lies in a weight file as it is, or one that has its bytes in its own file only."""
        ix = self.index
        i = ix.ordinals[name]
        file, offset, strides = ix.file[i], ix.offset[i] or 0, None
        if file is not None:
            path = self._weights(ix.files[file])
        else:
            entry = ix.others[name]
            offset = entry["offset"] or 0
            if entry["file"] is None:
                path = os.path.join(self.place.tensors, entry["path"])
            else:
                path = self._weights(entry["file"])
                strides = None if entry["strides"] is None else tuple(entry["strides"])

        def source() -> tuple[Bytes, int]:
            memory = self._maps.get(path)  # without the lock: it is there or it is not
            return (self.map(path) if memory is None else memory), offset

        return Tensor(name, ix.dtypes[ix.dtype[i]], tuple(ix.shapes[i]), strides, ix.nbytes[i], source)

    def _weights(self, file: str) -> str:
        return self.place.mount.path("models", self.model, file)

    def state_dict(self) -> dict[str, TorchTensor]:
        """Tensor.torch for all. The usual ones are made right here, in half the time."""
        import torch

        of, array, ix = torch.from_numpy, np.ndarray, self.index
        known = [torch_dtype(name) for name in ix.dtypes]
        carriers = [None if dtype is None else torch_carrier(dtype) for dtype in known]
        maps: list[memoryview | None] = [None] * len(ix.files)
        tensors: dict[str, TorchTensor] = {}
        with collecting.paused():
            columns = zip(ix.names, ix.shapes, ix.nbytes, ix.dtype, ix.file, ix.offset, strict=True)
            for name, shape, nbytes, dtype, file, offset in columns:
                carrier = carriers[dtype]
                if file is None or offset is None or carrier is None or not nbytes:
                    tensors[name] = self.tensor(name).torch()
                    continue
                memory = maps[file]
                if memory is None:
                    memory = maps[file] = self.map(self._weights(ix.files[file])).data
                t = of(array(shape, carrier[0], memory, offset))
                tensors[name] = t if carrier[1] is None else t.view(carrier[1])
        return tensors

    def map(self, path: str) -> Bytes:
        """The bytes of a file; waits until it is loaded."""
        with self._lock:
            if path not in self._maps:
                with _explained(self.place):
                    memory = map_private_path(path)
                    if os.stat(self.index.path).st_ino != self.index.inode:
                        raise ModelError(
                            f"{self.place.label} was replaced since it was opened: refresh() has the new one"
                        )
                self._maps[path] = memory
            return self._maps[path]

    @property
    def is_current(self) -> bool:
        with _explained(self.place):
            return self.index.is_current


class Model(Mapping[str, Tensor]):
    """A model that is kept in memory as long as this object is: name -> Tensor.

    It is a lease: an open handle on the model's folder, which loads the model in the background and is
    closed by ``close()``, at the end of ``with``, or when the object is collected. What was made of its
    tensors keeps the memory beyond that. Nothing waits before a tensor's bytes are asked for.
    """

    def __init__(self, place: _Place) -> None:
        self._place = place
        self._turn_to(_Generation(place))

    def _turn_to(self, generation: _Generation) -> None:
        self._lease = _lease(self._place, generation.model)
        self._open: _Generation | None = generation  # None once it is closed
        self._id = generation.id

    def _current(self) -> _Generation:
        if self._open is None:
            raise ValueError(f"{self.name} was closed: open it again")
        return self._open

    @property
    def name(self) -> str:
        """The model's name, with its variant: "whisper-base@f16"."""
        return self._place.label

    @property
    def path(self) -> str:
        """The model's folder in the mount, with its own files: configuration, tokenizer, weights."""
        return self._place.mount.path("models", self._current().model)

    @property
    def generation(self) -> str:
        """What tells one content of the model from another."""
        return self._id

    def __getitem__(self, name: str) -> Tensor:
        if name not in self:
            raise KeyError(f"{self.name} has no tensor {name!r}")
        return self._current().tensor(name)

    def __contains__(self, name: object) -> bool:
        return name in self._current().index.ordinals

    def __iter__(self) -> Iterator[str]:
        return iter(self._current().index.ordinals)

    def __len__(self) -> int:
        return len(self._current().index.ordinals)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        what = "closed" if self._open is None else f"{len(self)} tensors"
        return f"<modelfs.Model {self.name}: {what}>"

    @property
    def nbytes(self) -> int:
        """The size of all tensors."""
        return sum(self._current().index.nbytes)

    def state_dict(self) -> dict[str, TorchTensor]:
        """torch tensors by name, over the shared memory. Writes to them are this process's own."""
        return self._current().state_dict()

    def torch(self) -> dict[str, TorchTensor]:
        return self.state_dict()

    def numpy(self, *, writable: bool = False) -> dict[str, Array]:
        """Arrays by name, over the shared memory; see Tensor.numpy."""
        return {name: t.numpy(writable=writable) for name, t in self.items()}

    def jax(self) -> dict[str, Any]:
        """jax arrays by name, over the shared memory where jax takes it so."""
        return {name: t.jax() for name, t in self.items()}

    def load_into(self, module: Module, *, strict: bool = True) -> Module:
        """Gives a module the shared tensors in place of its own, without a copy, and returns it.

        It takes the types of the model's tensors. Tied parameters stay tied, also where the model has but
        one of their names. strict=False passes over names that only one side has.
        """
        from modelfs.assign import assign

        assign(self.state_dict(), module, strict=strict, name=self.name)
        return module

    def refresh(self) -> bool:
        """Turns to the model's present content; False if that is what it has. Tensors of the old content
        stay as they are."""
        if self._current().is_current:
            return False
        fresh = _Generation(self._place)
        if fresh.id == self._id:
            return False
        before = self._lease
        self._turn_to(fresh)
        before.close()
        return True

    def close(self) -> None:
        """Ends the lease. Tensors that are held keep their memory."""
        self._lease.close()
        self._open = None

    def __enter__(self) -> Model:  # noqa: PYI034 - Self is Python 3.11's
        self._current()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Lease:
    """A handle that is closed once: when asked to, or with the object."""

    def __init__(self, fd: int | None) -> None:
        self._finalizer = weakref.finalize(self, os.close, fd) if fd is not None else None

    def close(self) -> None:
        if self._finalizer is not None:
            self._finalizer()


def _lease(place: _Place, model: str) -> _Lease:
    """A handle on the model's folder loads the primary checkpoint. Who asked for another one, or for a
    converted variant, does not want that: what is mapped of those keeps them."""
    if place.variant is not None or place.name != model:
        return _Lease(None)
    with _explained(place):
        return _Lease(os.open(place.mount.path("models", model), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


@contextlib.contextmanager
def _explained(place: _Place) -> Iterator[None]:
    try:
        with place.mount.explained():
            yield
    except MountNotFound:
        raise
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR) and not os.path.isdir(place.tensors):
            raise ModelNotFound(_not_found(place)) from error
        if error.errno in (errno.ENOMEM, errno.ENOSPC):
            raise ModelBusy(
                error.errno,
                f"{place.label} does not fit into the memory budget of {place.mount.point}, and nothing there "
                "can be evicted: `modelfs ps` says who uses what",
            ) from error
        if error.errno in (errno.EIO, errno.ESTALE):
            why = _error_of(place)
            raise ModelError(
                f"{place.label} on {place.mount.point} cannot be loaded: {why or error.strerror}"
            ) from error
        raise


def _not_found(place: _Place) -> str:
    if place.variant is not None and os.path.isdir(place.mount.path("tensors", place.name)):
        return f"{place.mount.point} does not show {place.name} as {place.variant}: `modelfs mount` of this version may not"
    with contextlib.suppress(OSError):
        known = sorted(os.listdir(place.mount.path("models")))
        names = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
        return f"{place.mount.point} has no model {place.name!r}, but {names or 'none at all'}"
    return f"{place.mount.point} has no model {place.name!r}"


def _error_of(place: _Place) -> str | None:
    with contextlib.suppress(OSError):
        return os.getxattr(place.mount.path("models", place.name), "user.modelfs.error").decode()
    return None


def open_model(
    name: str,
    *,
    mount: str | os.PathLike[str] | Mount | None = None,
    dtype: str | None = None,
) -> Model:
    """A model of the mount: name -> Tensor, and a lease on it.

    ``name`` is MODEL, or MODEL/FILE for one of several checkpoints. ``dtype`` ("f32", "f16", "bf16") has
    the floating-point tensors converted, once for all who ask.
    """
    if dtype is not None and dtype.lower() not in VARIANTS:
        raise ValueError(f"dtype={dtype!r}: there are {', '.join(VARIANTS)}")
    found = mount if isinstance(mount, Mount) else Mount.find(mount)
    return Model(_Place(found, name.strip("/"), dtype.lower() if dtype else None))
