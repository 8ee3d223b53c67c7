# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What the formats' own libraries read from a file on disk: that is what the mount must show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import safetensors

# Descriptors in .npy files by index.json's names: NumPy has none of the later ones.
NUMPY = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8", "C128": "<c16",
    "BF16": "<V2", "F8_E4M3": "|V1", "F8_E5M2": "|V1", "F8_E8M0": "|V1", "F8_E4M3FNUZ": "|V1", "F8_E5M2FNUZ": "|V1",
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """One tensor as its library reads it."""

    name: str
    dtype: str  # as index.json calls it
    shape: tuple[int, ...]  # in elements
    npy_shape: tuple[int, ...]  # in a .npy file: the same, but rows of bytes for block types
    data: bytes  # row-major, little-endian

    @property
    def blocks(self) -> bool:
        """Several elements share bytes, so that one alone has no address."""
        return self.dtype not in NUMPY

    @property
    def descr(self) -> str:
        return NUMPY.get(self.dtype, "|u1")


def of_safetensors(*files: Path) -> list[Tensor]:
    """The tensors of a file, or of the shards of a checkpoint."""
    found = []
    for file in files:
        for name, t in safetensors.deserialize(file.read_bytes()):
            shape = tuple(t["shape"])
            packed = t["dtype"] not in NUMPY
            npy_shape = (*shape[:-1], shape[-1] * len(t["data"]) // int(np.prod(shape))) if packed else shape
            found.append(Tensor(name, t["dtype"], shape, npy_shape, bytes(t["data"])))
    return found


def of_gguf(file: Path) -> list[Tensor]:
    """The tensors of a GGUF file, whose library has dimensions innermost first."""
    return [
        Tensor(t.name, t.tensor_type.name, tuple(t.shape.tolist()[::-1]), npy_shape_of(t), t.data.tobytes())
        for t in gguf.GGUFReader(file).tensors
    ]


def npy_shape_of(t: gguf.ReaderTensor) -> tuple[int, ...]:
    """The library shows BF16 as bytes, modelfs as its two bytes a number."""
    shape = tuple(t.data.shape)
    return (*shape[:-1], shape[-1] // 2) if t.tensor_type.name == "BF16" else shape


def of_arrays(**arrays: np.ndarray) -> list[Tensor]:
    """What was given to numpy.save or numpy.savez."""
    names = {np.dtype(descr): dtype for dtype, descr in reversed(NUMPY.items()) if "V" not in descr}
    return [Tensor(n, names[a.dtype], a.shape, a.shape, a.tobytes()) for n, a in arrays.items()]
