# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""From an object to its skeleton, a pickle of protocol 5, and the arrays beside it.

Tensors, storages and arrays are persistent ids, numbered as they are met: one pickled twice
is one, so that tied weights stay tied, and views of one storage stay views of one. What else
has buffers (pyarrow, structured arrays) gives them out of band as protocol 5 lets it.
``persistent_id`` sees subclasses and storages too; ``copyreg`` would be global.
"""

from __future__ import annotations

import io
import pickle
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from modelfs import reduce_torch
from modelfs.dtypes import name_of_numpy
from modelfs.errors import NotShareable

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]


@dataclass
class TensorRow:
    """A tensor: a part of a storage."""

    id: int
    tensor: torch.Tensor
    storage: int  # of the storage rows
    parameter: bool
    whole: bool = False  # it is its storage, from the first byte to the last, in order


@dataclass
class StorageRow:
    """The memory of one or more tensors."""

    storage: torch.UntypedStorage
    id: int | None = None  # where the object holds the storage itself
    tensors: list[TensorRow] = field(default_factory=list)


@dataclass
class ArrayRow:
    """A contiguous array of a type that its name tells."""

    id: int
    source: Array  # as the object has it
    array: Array  # the same, or a contiguous copy
    dtype: str


@dataclass
class Skeleton:
    """A pickled object and what lies beside it."""

    data: bytes
    pickler: str
    tensors: list[TensorRow]
    storages: list[StorageRow]
    arrays: list[ArrayRow]
    typed: list[tuple[int, int, str]]  # id, storage row, torch's name of the type
    buffers: list[pickle.PickleBuffer]
    copies: list[str]  # types of what is no shared memory, but made anew by every reader
    ids: int

    @property
    def in_place(self) -> bool:
        """Whether all shared memory can be put under the object that was pickled: tensors can be
        rebound, arrays and others cannot."""
        buffers = len(self.buffers) - len(self.copies)  # a copy's own buffer is not shared memory
        return not self.arrays and not buffers and all(s.id is None and s.tensors for s in self.storages)


class _Collector:
    """What the picklers share: they differ in how they pickle classes and functions."""

    def __init__(self) -> None:
        self.tensors: list[TensorRow] = []
        self.storages: list[StorageRow] = []
        self.arrays: list[ArrayRow] = []
        self.typed: list[tuple[int, int, str]] = []
        self.buffers: list[pickle.PickleBuffer] = []
        self.extras: list[tuple[torch.Tensor, dict[str, Any]]] = []  # what was set on tensors
        self.copies: list[str] = []
        self.ids = 0
        self._seen: dict[int, int] = {}
        self._kept: list[object] = []  # so that no address is used twice
        self._storage_rows: dict[int, int] = {}
        self._torch: Any = sys.modules.get("torch")

    def persistent_id(self, o: Any) -> int | None:  # noqa: ANN401 - it is any object
        kind = type(o)
        if kind is np.ndarray or kind is np.memmap:
            return self._array(o)
        torch = self._torch
        if torch is None:
            return None
        if kind is torch.nn.Parameter or kind is torch.Tensor:
            return self._tensor(o, kind is torch.nn.Parameter)
        if kind is torch.UntypedStorage:
            row = self.storages[self._storage(o)]
            if row.id is None:
                row.id = self._new_id(o)
            return row.id
        if kind is torch.storage.TypedStorage:
            return self._once(o, self._typed)
        return None

    def _new_id(self, o: object) -> int:
        self._kept.append(o)
        self.ids += 1
        return self.ids - 1

    def _once(self, o: object, add: Callable[[int, Any], None]) -> int:
        number = self._seen.get(id(o))
        if number is None:
            number = self._seen[id(o)] = self._new_id(o)
            add(number, o)
        return number

    def _array(self, o: Array) -> int | None:
        if o.dtype.hasobject or o.dtype.itemsize == 0 or dtype_code(o.dtype) is None:
            return None
        return self._once(o, self._add_array)

    def _add_array(self, number: int, o: Array) -> None:
        a = np.asarray(o)
        if not (a.flags.c_contiguous or a.flags.f_contiguous):
            a = np.ascontiguousarray(a)
        self.arrays.append(ArrayRow(number, o, a, str(dtype_code(a.dtype))))

    def _tensor(self, t: torch.Tensor, parameter: bool) -> int | None:
        number = self._seen.get(id(t))
        if number is not None:
            return number
        reduce_torch.refuse(t)
        if not reduce_torch.is_plain(t):
            return None
        number = self._seen[id(t)] = self._new_id(t)
        at = self._storage(t.untyped_storage())
        row = TensorRow(number, t, at, parameter)
        storage = self.storages[at]
        size = storage.storage.nbytes()
        row.whole = bool(t.storage_offset() == 0 and t.is_contiguous() and t.numel() * t.element_size() == size)
        storage.tensors.append(row)
        self.tensors.append(row)
        extra = dict(t.__dict__)
        if t._backward_hooks:
            extra["_backward_hooks"] = t._backward_hooks
        if extra:
            self.extras.append((t, extra))
        return number

    def _storage(self, s: torch.UntypedStorage) -> int:
        at = self._storage_rows.get(s._cdata)  # empty ones all have the address 0
        if at is None:
            reduce_torch.refuse_storage(s)
            at = self._storage_rows[s._cdata] = len(self.storages)
            self._kept.append(s)
            self.storages.append(StorageRow(s))
        return at

    def _typed(self, number: int, s: torch.TypedStorage) -> None:
        self.typed.append((number, self._storage(s._untyped_storage), str(s.dtype).removeprefix("torch.")))

    def _reduce(self, o: Any) -> Any:  # noqa: ANN401 - what pickle takes
        if isinstance(o, io.IOBase) and type(o) not in (io.BytesIO, io.StringIO):
            raise NotShareable(f"an open file ({getattr(o, 'name', o)!r}): open it where it is used")
        if isinstance(o, np.ndarray) and type(o) in (np.ndarray, np.memmap) and not o.dtype.hasobject:
            return _reduce_array(o)
        return reduce_torch.reduce(o, self.copies)

    def _buffer(self, buffer: pickle.PickleBuffer) -> bool:
        self.buffers.append(buffer)
        return False


class _Pickler(_Collector, pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        _Collector.__init__(self)
        pickle.Pickler.__init__(self, file, protocol=5, buffer_callback=self._buffer)

    def reducer_override(self, o: Any) -> Any:  # noqa: ANN401
        return self._reduce(o)


def dtype_code(dtype: np.dtype[Any]) -> str | None:
    """A text that makes the type again; None for one that only its pickle does."""
    name = name_of_numpy(dtype)
    if name is not None:
        return name
    if dtype.names is None and dtype.subdtype is None and dtype.isbuiltin != 2 and not dtype.metadata:
        return "numpy:" + dtype.str if np.dtype(dtype.str) == dtype else None
    return None


def _reduce_array(a: Array) -> Any:  # noqa: ANN401
    """An array that _array passed over, with its bytes out of band."""
    a = np.asarray(a)
    if a.dtype.itemsize == 0 or a.dtype.isbuiltin == 2:
        return NotImplemented
    order = "C" if a.flags.c_contiguous or not a.flags.f_contiguous else "F"
    flat: Any = (np.ascontiguousarray(a) if order == "C" else a.T).reshape(-1).view(np.uint8)
    # Of the array, not of its memoryview: one that is collected as a part of a cycle, which a pickler is, while
    # the buffer exports it, brings the process down (CPython clears what the buffer then releases).
    return _array_of, (pickle.PickleBuffer(flat), a.dtype, a.shape, order)


def _array_of(buffer: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> Array:  # noqa: ANN401
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def _cloud_pickler() -> type[_Pickler] | None:
    """The pickler of functions and classes that no module has, if cloudpickle is there."""
    try:
        import cloudpickle
    except ImportError:
        return None

    class Cloud(_Collector, cloudpickle.Pickler):  # type: ignore[misc]
        def __init__(self, file: io.BytesIO) -> None:
            _Collector.__init__(self)
            cloudpickle.Pickler.__init__(self, file, protocol=5, buffer_callback=self._buffer)

        def reducer_override(self, o: Any) -> Any:  # noqa: ANN401
            reduced = self._reduce(o)
            return reduced if reduced is not NotImplemented else cloudpickle.Pickler.reducer_override(self, o)

    return Cloud


_FAILURES = (pickle.PicklingError, AttributeError, TypeError, NotImplementedError, RuntimeError, ValueError)


def skeleton_of(o: object) -> Skeleton:
    """Pickles an object; NotShareable says what in it cannot be given to others."""
    try:
        return _dump(_Pickler, "pickle", o)
    except NotShareable as error:
        raise _explained(o, error) from None
    except _FAILURES as error:
        first = error
    cloud = _cloud_pickler()
    if cloud is None:
        hint = NotShareable(
            f"{first} (the package cloudpickle, which shares lambdas and local classes, is not installed)"
        )
        raise _explained(o, hint) from first
    try:
        return _dump(cloud, "cloudpickle", o)
    except NotShareable as error:
        raise _explained(o, error) from None
    except _FAILURES as error:
        raise _explained(o, error) from first


def _dump(cls: type[_Pickler], name: str, o: object) -> Skeleton:
    file = io.BytesIO()
    pickler = cls(file)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*TypedStorage is deprecated", category=UserWarning)
        pickler.dump((o, pickler.extras))  # extras grow while the object is pickled, and are pickled after it
    p = pickler
    return Skeleton(file.getvalue(), name, p.tensors, p.storages, p.arrays, p.typed, p.buffers, p.copies, p.ids)


def _explained(o: object, error: Exception) -> NotShareable:
    from modelfs.culprit import find

    where, what = find(o, _shareable)
    reason = str(what or error)
    return NotShareable(f"what load_fn returned cannot be shared: {where}: {reason}")


def _shareable(o: object) -> Exception | None:
    """Why an object cannot be pickled; None if it can."""
    error: Exception | None = None
    for cls in (_Pickler, _cloud_pickler()):
        if cls is None:
            continue
        try:
            _dump(cls, "", o)
            return None
        except NotShareable as refused:
            return refused
        except _FAILURES as failed:
            error = failed
    return error
