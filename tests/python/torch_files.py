# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints with what only torch has: views of every kind, all its types. Only tests
that need torch import this."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from unittest import mock

import torch
from reference_torch import DTYPES


def random(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """Random bytes, whatever numbers these are; bools are 0 and 1."""
    n = math.prod(shape) * dtype.itemsize
    raw = torch.randint(0, 2 if dtype == torch.bool else 256, (n,), dtype=torch.uint8)
    return raw.view(dtype).reshape(shape) if n else torch.empty(shape, dtype=dtype)


def views() -> dict[str, torch.Tensor | dict[str, torch.Tensor]]:
    """Views of one storage, and what two names share."""
    base = random(torch.float32, 6, 8)
    return {
        "all": base, "again": base, "nested": {"row": base[2], "column": base[:, 3]}, "part": base[1:4, 2:7],
        "steps": base[::2, ::3], "turned": base.t(), "scalar": base[5, 7], "none": base[3:3], "wide": base[:, :1].expand(6, 9),
        "repeated": base[0, 0].expand(2, 3), "windows": base.flatten().unfold(0, 4, 2), "ones": base[:1, :1].expand(1, 5),
        "overlap": base.flatten().as_strided((3, 3), (1, 1), 2), "odd": random(torch.uint8, 12)[3:],
        "permuted": random(torch.uint8, 1, 2, 3, 1, 2, 1, 2, 3).permute(7, 6, 5, 4, 3, 2, 1, 0),
        "conjugated": random(torch.complex64, 2, 3).conj(), "negated": random(torch.complex64, 4).conj().imag,
    }  # fmt: skip


def types(*without: torch.dtype) -> dict[str, torch.Tensor]:
    """Every type, as a matrix and turned, as a scalar, empty, and with eight dimensions."""
    found = {}
    for dtype, name in DTYPES.items():
        if dtype not in without:
            matrix = random(dtype, 3, 5)
            found |= {f"{name}.matrix": matrix, f"{name}.turned": matrix.t(), f"{name}.scalar": random(dtype)}
            found |= {f"{name}.empty": random(dtype, 2, 0, 3), f"{name}.deep": random(dtype, 2, 1, 2, 1, 3, 1, 1, 2)}
    return found


def write(name: str, file: Path) -> None:
    """Writes the checkpoint of a model's name."""
    with torch.random.fork_rng():
        torch.manual_seed(6)
        match name:
            case "views":
                torch.save(views(), file)
            case "views-legacy":
                torch.save(views(), file, _use_new_zipfile_serialization=False)
            case "types":
                torch.save(types(), file)
            case "big-endian":
                wide = (torch.uint16, torch.uint32, torch.uint64)  # torch cannot swap the bytes of these
                with mock.patch.object(sys, "byteorder", "big"):
                    torch.save(types(*wide), file)
