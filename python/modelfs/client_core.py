# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What the two clients share: whom they call, and what an answer means."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import grpc

from modelfs.client_call import References
from modelfs.client_channel import Tls, find_servers, is_local
from modelfs.client_errors import InferenceError, InferenceTimeout, NoServer
from modelfs.client_messages import SERVICE
from modelfs.errors import MountNotFound
from modelfs.mountpoint import Mount

PATIENCE = 60.0  # how long a server that is gone is waited for by a call without a timeout
POLL = 2.0  # how long a server may take to say why a model is not ready
ROUNDS = 5
LEAST_PAUSE, MOST_PAUSE = 0.05, 0.3


def path_of(method: str) -> str:
    return f"/{SERVICE}/{method}"


class Core:
    """The configuration of a client, and the servers that it knows."""

    def __init__(
        self,
        model: str | None,
        address: str | None,
        mount: str | os.PathLike[str] | Mount | None,
        token: str | None,
        tls: bool | Tls | None,
        timeout: float | None,
        by_reference: str | bool,
    ) -> None:
        self.model, self.address, self.timeout = model, address, timeout
        self.tls = Tls() if tls is True else tls or None
        if token is not None and address is not None and self.tls is None and not is_local(address):
            raise ValueError("a token over TCP to another machine needs tls=: whoever listens would have it")
        self.metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
        self.mount: Mount | None = None
        if address is None or mount is not None:
            self.mount = mount if isinstance(mount, Mount) else Mount.find(mount)
        elif by_reference not in (False, "never"):
            with contextlib.suppress(MountNotFound):
                self.mount = Mount.find()
        self.references = References(by_reference, self.mount)
        if self.mount is None or not (address is None or address.startswith("unix:") or token or self.tls):
            # Nobody to refer to, or a server that could not know who asks.
            self.references.possible = False
        self._servers: list[str] = []

    def named(self, model: str | None) -> str:
        chosen = model or self.model
        if not chosen:
            raise ValueError("no model: say which with Client(model) or model=")
        return chosen

    def server(self, failed: str | None = None) -> str:
        """Whom to call; another one than failed, if there is one. NoServer if there is none."""
        if self.address is not None:
            return self.address
        assert self.mount is not None
        found = find_servers(self.mount, self.model)
        return next((a for a in found if a != failed), found[0])

    def deadline(self, timeout: float | None) -> Deadline:
        return Deadline(timeout if timeout is not None else self.timeout)


class Deadline:
    """Until when a call may take."""

    def __init__(self, timeout: float | None) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout
        self._patience = time.monotonic() + PATIENCE

    def left(self) -> float | None:
        """Seconds, for one attempt; None: any."""
        return None if self._end is None else max(self._end - time.monotonic(), 0.001)

    def check(self, cause: InferenceError) -> None:
        """Raises when nobody may wait any longer; cause is what he waits for."""
        now = time.monotonic()
        if self._end is not None and now >= self._end:
            raise InferenceTimeout("DEADLINE_EXCEEDED", f"no server was ready in time: {cause.message}") from cause
        if self._end is None and now >= self._patience:
            raise cause

    def extend(self) -> None:
        """Somebody answered: waiting begins anew."""
        self._patience = time.monotonic() + PATIENCE


def pauses() -> Iterator[float]:
    """How long to wait before each look."""
    pause = LEAST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, MOST_PAUSE)


def verdict(model: str, index: Any) -> bool:  # noqa: ANN401 - a message
    """Whether a model can be called by what a server says of it; an error if it will not be."""
    for found in index.models:
        if found.name == model:
            if found.state == "UNAVAILABLE":
                raise InferenceError("UNAVAILABLE", f"{model} is not ready: {found.reason}")
            return bool(found.state == "READY")
    raise InferenceError("NOT_FOUND", f"no model {model!r} is served here")


def gone(error: grpc.RpcError) -> bool:
    """Whether a server did not answer at all, rather than that it has no such call."""
    return error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def unreachable(error: InferenceError) -> bool:
    """Whether nobody can have got the call."""
    return isinstance(error, NoServer) or (error.code == "UNAVAILABLE" and "failed to connect" in error.message.lower())
