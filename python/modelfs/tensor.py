# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""A tensor in shared memory, and the ways to hand it over without a copy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from modelfs import dlpack
from modelfs.dtypes import BY_NAME, numpy_dtype, torch_carrier, torch_dtype
from modelfs.mapping import Bytes

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
Source = Callable[[], tuple[Bytes, int]]  # memory that holds the tensor, and where it begins there


class Tensor:
    """One tensor of a model. Nothing is loaded for what it says of itself; its bytes are when they are asked for.

    What ``numpy()``, ``__array_interface__`` and DLPack give is marked as read-only, since it is what all
    others see. torch has no such mark: what is written to its tensors, or to ``numpy(writable=True)``, is
    copied on write and this process's own; all writable views of one model in a process are views of that.
    Every view keeps the memory, whatever becomes of the model.
    """

    __slots__ = ("_source", "_strides", "dtype", "name", "nbytes", "shape")

    def __init__(
        self,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None,
        nbytes: int,
        source: Source,
    ) -> None:
        self.name = name
        self.dtype = dtype  # as safetensors names it, or GGML for types of several elements in a block
        self.shape = shape
        self._strides = strides  # None if they are the usual ones, or there are none
        self.nbytes = nbytes  # of the contiguous tensor
        self._source = source

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def strides(self) -> tuple[int, ...] | None:
        """In elements; None for a block type."""
        if self.is_block_type or self._strides is not None:
            return self._strides
        strides, step = [], 1
        for n in reversed(self.shape):
            strides.append(step)
            step *= n
        return tuple(reversed(strides))

    @property
    def is_block_type(self) -> bool:
        """Several elements share bytes, so that one alone has no address: views of it are rows of bytes."""
        return self.dtype not in BY_NAME

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"{self.name} has no dimension")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<modelfs.Tensor {self.name} {self.dtype}{list(self.shape)}>"

    def numpy(self, *, writable: bool = False) -> Array:
        """An array over the shared memory. Types that numpy lacks are ml_dtypes' where that is installed,
        else elements of as many bytes; a block type is rows of bytes."""
        array = self._array()
        array.flags.writeable = writable
        return array

    def torch(self) -> torch.Tensor:
        """A tensor over the shared memory. A type that torch lacks, or a block type, is rows of bytes."""
        import torch

        dtype = torch_dtype(self.dtype)
        if not self.nbytes:
            return torch.empty(self.shape, dtype=dtype or torch.uint8)
        if dtype is None:
            return torch.from_numpy(self._array().view(np.uint8))
        carrier, view = torch_carrier(dtype)
        t = torch.from_numpy(self._array(carrier))
        return t if view is None else t.view(view)

    def jax(self) -> Any:  # noqa: ANN401 - jax.Array, where jax is installed
        """A jax array: over the shared memory where jax takes it so (the CPU, aligned to 64 bytes), else a copy."""
        import jax.dlpack
        import jax.numpy

        try:
            return jax.dlpack.from_dlpack(self)
        except Exception:  # noqa: BLE001 - jax and its back ends refuse in many ways what they do not take over DLPack
            return jax.numpy.asarray(self.numpy())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: ANN401 - numpy's protocol
        array = self.numpy()
        if dtype is not None and np.dtype(dtype) != array.dtype:
            if copy is False:
                raise ValueError(f"{self.name} is {array.dtype}: {np.dtype(dtype)} needs a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return dict(self.numpy().__array_interface__)

    def __dlpack__(
        self,
        *,
        stream: object = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        """A capsule over the shared memory, read-only where the consumer's version has that flag (1.0)."""
        if stream is not None:
            raise BufferError("the tensor is in the machine's own memory, which has no streams")
        if dl_device not in (None, dlpack.CPU):
            raise BufferError(f"the tensor is in the machine's own memory, not on {dl_device}")
        array = self.numpy(writable=max_version is None or copy is True)
        return dlpack.export(array.copy() if copy else array, BY_NAME.get(self.dtype), max_version)

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CPU

    def _array(self, dtype: np.dtype[Any] | None = None) -> Array:
        memory, offset = self._source()
        dtype = dtype or numpy_dtype(self.dtype)
        shape = self.shape
        if self.is_block_type:
            rows = math.prod(shape[:-1])
            shape = (*shape[:-1], self.nbytes // rows) if rows else (0,)
        if not self.nbytes:
            return np.empty(shape, dtype)
        steps = None
        if self._strides is not None and not self.is_block_type:
            steps = tuple(s * dtype.itemsize for s in self._strides)
        array: Array = np.ndarray(shape, dtype, memory, offset, steps)
        return array
