# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""How long a call may take, and how long a server that is gone is waited for."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from modelfs.client_errors import InferenceError, InferenceTimeout

PATIENCE = 60.0  # how long a server that is gone is waited for by a call without a timeout
LEAST_PAUSE, MOST_PAUSE = 0.05, 0.3
SLACK = 0.05


class Deadline:
    """Until when a call may take."""

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout
        self._patience = math.inf

    def left(self) -> float | None:
        """Seconds, for one attempt; None: any."""
        return None if self._end is None else max(self._end - time.monotonic(), 0.001)

    @property
    def passed(self) -> float | None:
        """The timeout, if that time is over. Where the server is its clock may be a little ahead, and it ends the call."""
        return self.timeout if self._end is not None and time.monotonic() >= self._end - SLACK else None

    def wait(self) -> None:
        """The wait for a server that is gone begins; patience counts from here, not from when the call began."""
        self._patience = time.monotonic() + PATIENCE

    def check(self, cause: InferenceError) -> None:
        """Raises when nobody may wait any longer; cause is what he waits for."""
        now = time.monotonic()
        if self._end is not None and now >= self._end:
            text = f"no server was ready within {self.timeout:g} s: {cause.message}"
            raise InferenceTimeout("DEADLINE_EXCEEDED", text) from cause
        if self._end is None and now >= self._patience:
            raise cause


def pauses() -> Iterator[float]:
    """How long to wait before each look."""
    pause = LEAST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, MOST_PAUSE)
