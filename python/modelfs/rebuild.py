# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""From the mapped file back to the object, or to its tensors alone.

Tensors come first, all of them, from the table; then the skeleton's pickle finds them by
number. Each original storage is one storage again, rather than all being one over the file:
else ``torch.save`` of one bias would write everything.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from modelfs import collecting, container
from modelfs.dtypes import BY_NAME, numpy_dtype, torch_carrier
from modelfs.mapping import Bytes
from modelfs.publish import PARAMETER, REQUIRES_GRAD, Table

Order = Literal["C", "F"]


def load(memory: Bytes) -> Any:  # noqa: ANN401 - it is what load_fn made
    """The object of a file that may be trusted: unpickling runs code."""
    with collecting.paused():
        view = memory.data
        where = container.parse(view)
        table = Table.load(where.table)
        made = _parts(memory, table, where.payload)
        loaded, extras = _Unpickler(where.skeleton, made, _buffers(view, table, where.payload)).load()
        for tensor, extra in extras:
            hooks = extra.pop("_backward_hooks", None)
            tensor.__dict__.update(extra)
            if hooks is not None:
                tensor._backward_hooks = hooks
        return loaded


class _Unpickler(pickle.Unpickler):
    """Finds the parts by number. By a method, 0.1 µs a part: an attribute of an Unpickler, which would
    be quicker, is read-only since Python 3.13."""

    def __init__(self, skeleton: memoryview, made: list[Any], buffers: Iterator[memoryview]) -> None:
        super().__init__(io.BytesIO(skeleton), buffers=buffers)
        self._made = made

    def persistent_load(self, number: int) -> Any:  # noqa: ANN401 - as pickle has it
        return self._made[number]


def parts(memory: Bytes) -> list[Any]:
    """The tensors of a file that may be trusted, by number."""
    where = container.parse(memory.data)
    return _parts(memory, Table.load(where.table), where.payload)


def _buffers(view: memoryview, table: Table, payload: int) -> Iterator[memoryview]:
    for offset, size, readonly in table.buffers:
        part = view[payload + offset : payload + offset + size]
        yield part.toreadonly() if readonly else part


def _parts(memory: Bytes, table: Table, payload: int) -> list[Any]:
    made: list[Any] = [None] * table.ids
    for number, offset, count, code, shape, order, writeable in table.arrays:
        made[number] = array_of(memory, payload + offset, count, code, shape, order, writeable)
    if table.groups or table.views or table.storages:
        _tensors(memory, table, payload, made)
    return made


def array_of(
    memory: Bytes,
    offset: int,
    count: int,
    code: str,
    shape: tuple[int, ...],
    order: Order = "C",
    writeable: bool = True,
) -> np.ndarray[Any, Any]:
    """An array over the memory. Its type is a name of BY_NAME, or "numpy:" and numpy's own."""
    dtype = numpy_dtype(code) if code in BY_NAME else np.dtype(code.removeprefix("numpy:"))
    if count == 0:
        return np.empty(shape, dtype, order)
    array = np.frombuffer(memory, dtype, count, offset).reshape(shape, order=order)
    if not writeable:
        array.flags.writeable = False
    return array


def _tensors(memory: Bytes, table: Table, payload: int, made: list[Any]) -> None:
    import torch

    # Local names: this loop is most of the time that attaching takes.
    of, make, parameter, array = torch.from_numpy, torch.Tensor._make_subclass, torch.nn.Parameter, np.ndarray
    data = memory.data  # which an array is sooner made of than of another array
    for name, flags, rows in table.groups:
        carrier, view = torch_carrier(getattr(torch, name))
        grad = bool(flags & REQUIRES_GRAD)
        if view is not None or (grad and not flags & PARAMETER):  # the less usual ones
            for number, offset, shape in rows:
                t = of(array(shape, carrier, data, payload + offset))
                t = t if view is None else t.view(view)
                made[number] = make(parameter, t, grad) if flags & PARAMETER else t.requires_grad_(grad)
        elif flags & PARAMETER:
            for number, offset, shape in rows:
                made[number] = make(parameter, of(array(shape, carrier, data, payload + offset)), grad)
        else:
            for number, offset, shape in rows:
                made[number] = of(array(shape, carrier, data, payload + offset))
    _views(memory, table, payload, made)


def _views(memory: Bytes, table: Table, payload: int, made: list[Any]) -> None:
    """Tensors that share a storage, or are not the whole of it; and storages themselves."""
    import torch

    storages: dict[int, torch.UntypedStorage] = {}

    def storage(at: int) -> torch.UntypedStorage:
        if at not in storages:
            offset, size, _ = table.storages[at]
            if size:
                flat = torch.frombuffer(memory, dtype=torch.uint8, count=size, offset=payload + offset)
                storages[at] = flat.untyped_storage()
            else:
                storages[at] = torch.UntypedStorage(0)
        return storages[at]

    for number, at, name, shape, stride, offset, flags in table.views:
        t = torch.empty(0, dtype=getattr(torch, name)).set_(storage(at), offset, shape, stride)
        grad = bool(flags & REQUIRES_GRAD)
        if flags & PARAMETER:
            t = torch.Tensor._make_subclass(torch.nn.Parameter, t, grad)
        elif grad:
            t.requires_grad_(True)
        made[number] = t
    for at, (_, _, own) in enumerate(table.storages):
        if own is not None:
            made[own] = storage(at)
    for number, at, name in table.typed:
        dtype = getattr(torch, name)
        typed = torch.TypedStorage(wrap_storage=storage(at), dtype=dtype, _internal=True)
        made[number] = typed
