# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""How long what nobody uses stays."""

from __future__ import annotations

import datetime
import math

TTL = float | datetime.timedelta

ATTRIBUTE = "user.modelfs.ttl"


def seconds_of(ttl: TTL) -> float:
    """A ttl in seconds."""
    seconds = ttl.total_seconds() if isinstance(ttl, datetime.timedelta) else float(ttl)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"a ttl of {seconds:g} seconds: want a number of 0 or more")
    return seconds


def text_of(ttl: TTL) -> bytes:
    """A ttl as the attribute has it."""
    return f"{seconds_of(ttl):f}".encode()
