# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Thousands of objects are made at once, none of them garbage: the collector would look at all that
the process has, several times, which takes longer than making them."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """No garbage collection meanwhile, if there is any."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
