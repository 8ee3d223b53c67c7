# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Puts the shared memory under the tensors of the process that loaded, in place of its own."""

from __future__ import annotations

import gc
from typing import Any

from modelfs.pickling import Skeleton


def rebind(s: Skeleton, shared: list[Any]) -> bool:
    """Gives each tensor of the object the memory of the shared one; False if one could not be.

    Parameters stay the same objects, also in an optimiser. Views that were made of them before
    and are no part of the object keep the old memory.
    """
    import torch

    done = True
    with torch.no_grad():
        for row in s.tensors:
            try:
                row.tensor.data = shared[row.id].detach()
            except (RuntimeError, TypeError):
                done = False
    return done


def return_memory() -> None:
    """Gives what the own copy took back to the system, as far as the allocator does it."""
    import ctypes

    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in every C library
    if trim is not None:
        trim(0)
