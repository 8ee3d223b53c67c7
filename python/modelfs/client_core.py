# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What the two clients share: whom they call, when again, and what an answer means.

Nothing here waits. A call is a generator: it yields the Step that is to be waited for, goes on with what came of it,
be that an error, and returns its result; a stream yields its results between the steps. The clients do the steps, one
with threads and one for asyncio. Each with loops of its own lost: the rules of repeating would be written twice."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

import grpc

from modelfs.client_call import Call, References
from modelfs.client_channel import Connection, Tls, find_servers, is_local
from modelfs.client_deadline import PATIENCE, Deadline, pauses
from modelfs.client_errors import InferenceError, NoServer, error_of, streamed_error
from modelfs.client_messages import UNARY
from modelfs.client_result import Array, Result
from modelfs.errors import MountNotFound
from modelfs.mountpoint import Mount

POLL = 2.0  # how long a server may take to say why a model is not ready
QUICK = 10.0  # how long a call may take that a server answers at once, without a timeout
ROUNDS = 5


class Step:
    """What a call waits for."""

    __slots__ = ()


@dataclass(slots=True)
class Send(Step):
    """Call a stub: its answer, or grpc.RpcError. wait: for a server that is not ready; None: as gRPC is configured."""

    stub: Any
    request: Any
    metadata: tuple[tuple[str, str], ...]
    timeout: float | None
    wait: bool | None = None


@dataclass(slots=True)
class Read(Step):
    """What a stream has next, None at its end, or grpc.RpcError."""

    stream: Any


@dataclass(slots=True)
class Connect(Step):
    """Whether a channel is connected within so many seconds."""

    channel: Any
    within: float


@dataclass(slots=True)
class Pause(Step):
    """Let some time pass."""

    seconds: float


_T = TypeVar("_T")
Steps = Generator[Step, Any, _T]
Results = Generator[Step | Result, Any, _T]  # with the results of a stream between


class Core:
    """The configuration of a client, the servers that it knows, and its calls. ``api`` is grpc or grpc.aio. The lock
    is for a client's threads: nothing is yielded under it, so that with asyncio it is always free."""

    def __init__(
        self,
        api: ModuleType,
        model: str | None,
        address: str | None,
        mount: str | os.PathLike[str] | Mount | None,
        token: str | None,
        tls: bool | Tls | None,
        timeout: float | None,
        by_reference: str | bool,
    ) -> None:
        self._api, self.model, self.timeout = api, model, timeout
        self._address, self._tls = address, Tls() if tls is True else tls or None
        if token is not None and address is not None and self._tls is None and not is_local(address):
            raise ValueError("a token over TCP to another machine needs tls=: whoever listens would have it")
        self.metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
        self._mount: Mount | None = None
        if address is None or mount is not None:
            self._mount = mount if isinstance(mount, Mount) else Mount.find(mount)
        elif by_reference not in (False, "never"):
            with contextlib.suppress(MountNotFound):
                self._mount = Mount.find()
        self.references = References(by_reference, self._mount)
        if self._mount is None or not (address is None or address.startswith("unix:") or token or self._tls):
            # Nobody to refer to, or a server that could not know who asks.
            self.references.possible = False
        self._lock = threading.Lock()
        self._current: Connection | None = None
        self._old: list[Connection] = []
        self._closed = False

    def named(self, model: str | None) -> str:
        chosen = model or self.model
        if not chosen:
            raise ValueError("no model: say which with Client(model) or model=")
        return chosen

    def call(
        self,
        inputs: Mapping[str, Any],
        outputs: Iterable[str] | Mapping[str, Array | None] | None,
        model: str | None,
        parameters: Mapping[str, Any] | None,
        priority: int | None,
        timeout: float | None,
        id: str,
        streamed: bool = False,
    ) -> Call:
        """A call that is to be made, of the arguments of Client.infer."""
        name, deadline = self.named(model), self._deadline(timeout)
        return Call(self.references, name, inputs, outputs, parameters, priority, deadline, id, streamed)

    def infer(self, call: Call) -> Results[Result]:
        with call:
            return (yield from self._repeat(call, self._attempt, once=call.to_files))

    def stream(self, call: Call) -> Results[Result | None]:
        with call:
            return (yield from self._repeat(call, self._stream))

    def ask(self, method: str, *, wait: bool = True, timeout: float | None = None, **fields: Any) -> Steps[Any]:  # noqa: ANN401 - a message
        """Any other call, by the names of the protocol, which a server answers at once."""
        limit = timeout if timeout is not None else self.timeout if self.timeout is not None else QUICK
        return (yield from self._send(method, fields, limit, wait))

    def manage(self, method: str, timeout: float | None, **fields: Any) -> Steps[None]:  # noqa: ANN401
        """A call that may take a server minutes: without a timeout it has no end, once there is a server."""
        limit = timeout if timeout is not None else self.timeout
        if limit is None:
            connection = self.connection()
            if not (yield Connect(connection.control, PATIENCE)):
                raise InferenceError("UNAVAILABLE", f"no server at {connection.address} for {PATIENCE:g} s")
        yield from self._send(method, fields, limit, wait=limit is not None)

    def _send(self, method: str, fields: dict[str, Any], limit: float | None, wait: bool) -> Steps[Any]:
        deadline, connection = Deadline(limit), self.connection()
        stub, request = connection.unary(method), UNARY[method][0](**fields)
        try:
            return (yield Send(stub, request, self.metadata, limit, wait))
        except grpc.RpcError as error:
            raise error_of(error, connection.address, deadline.passed) from None

    def ready(self, model: str | None) -> Steps[bool]:
        name = model or self.model
        method, fields = ("ModelReady", {"name": name}) if name else ("ServerReady", {})
        try:
            return bool((yield from self.ask(method, wait=False, timeout=POLL, **fields)).ready)
        except InferenceError:
            return False

    def wait_ready(self, timeout: float | None, model: str | None) -> Steps[None]:
        name, deadline = model or self.model, self._deadline(timeout)
        deadline.wait()
        for pause in pauses():
            if (yield from self.ready(model)):
                return
            cause = InferenceError("UNAVAILABLE", f"{name or 'the server'} is not ready")
            if name:
                try:
                    index = yield from self.ask("RepositoryIndex", wait=False, timeout=POLL)
                except InferenceError as error:
                    cause = error
                    self._elsewhere()
                else:
                    if not verdict(name, index):
                        deadline.wait()
            deadline.check(cause)
            yield Pause(pause)

    def connection(self) -> Connection:
        """Whom to call now."""
        current = self._current
        if current is not None:
            return current
        with self._lock:
            if self._closed:
                raise ValueError("the client is closed")
            if self._current is None:
                self._current = self._connect(self._server())
            return self._current

    def end(self) -> list[Any]:
        """No more calls: the channels that are to be closed."""
        with self._lock:
            self._closed = True
            connections = [*self._old, *([self._current] if self._current is not None else [])]
            self._current, self._old = None, []
        return [channel for connection in connections for channel in connection.channels]

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(timeout if timeout is not None else self.timeout)

    def _connect(self, address: str) -> Connection:
        return Connection(self._api, address, self.model, self._tls)

    def _server(self, failed: str | None = None) -> str:
        """Whom to call; another one than failed, if there is one. NoServer if there is none."""
        if self._address is not None:
            return self._address
        assert self._mount is not None
        found = find_servers(self._mount, self.model)
        return next((a for a in found if a != failed), found[0])

    def _elsewhere(self) -> str | None:
        """Goes on to another server, if the mount lists one. Other threads may be calling the old one still."""
        current = self._current
        if current is not None:
            with contextlib.suppress(NoServer, OSError):
                address = self._server(failed=current.address)
                with self._lock:
                    if address != current.address and self._current is current:
                        self._old.append(current)
                        self._current = self._connect(address)
                        return address
        return None

    def _attempt(self, connection: Connection, call: Call) -> Steps[Result]:
        while True:
            attempt = call.attempt()
            stub = connection.once if attempt.once else connection.infer
            try:
                response = yield Send(stub, attempt.request, self.metadata, call.deadline.left())
            except grpc.RpcError as error:
                attempt.end()
                failure = error_of(error, connection.address, call.deadline.passed)
                if not call.refused(attempt, failure):
                    raise failure from None
            except BaseException:  # interrupted, or cancelled
                attempt.end()
                raise
            else:
                return call.result(attempt, response)

    def _stream(self, connection: Connection, call: Call) -> Results[Result | None]:
        while True:
            attempt = call.attempt()
            stream = connection.stream(iter([attempt.request]), timeout=call.deadline.left(), metadata=self.metadata)
            try:
                while (answer := (yield Read(stream))) is not None:
                    message, response = answer
                    if message:
                        raise streamed_error(message, response)
                    if response is not None and response.message.outputs:
                        yield call.result(attempt, response)
                return None
            except (grpc.RpcError, InferenceError) as error:
                failure = error
                if isinstance(error, grpc.RpcError):
                    failure = error_of(error, connection.address, call.deadline.passed)
                if not call.refused(attempt, failure):
                    raise failure from None
            finally:
                stream.cancel()

    def _repeat(
        self, call: Call, attempt: Callable[[Connection, Call], Results[_T]], once: bool = False
    ) -> Results[_T]:
        """Makes a call, and makes it again when the server was gone and is back, until something was answered."""
        for rounds in range(1, ROUNDS + 1):
            try:
                return (yield from attempt(self.connection(), call))
            except InferenceError as failure:
                lasting = failure.code != "UNAVAILABLE" or failure.final or rounds == ROUNDS or call.answered
                if lasting or (once and not unreachable(failure)):
                    raise
                cause = failure
            was_gone = yield from self._wait(call, cause)
            if rounds > 1 and not was_gone:
                raise cause  # the server is there: it is the call that does not work
        raise AssertionError

    def _wait(self, call: Call, cause: InferenceError) -> Steps[bool]:
        """Returns when a server is ready for the call's model: whether it was not at first."""
        was_gone, tried = False, set[str]()
        call.deadline.wait()
        for pause in pauses():
            call.deadline.check(cause)
            ready = False
            try:
                connection = self.connection()
                stub, request = connection.unary("RepositoryIndex"), UNARY["RepositoryIndex"][0]()
                index = yield Send(stub, request, self.metadata, POLL, wait=False)
                ready = verdict(call.model, index)
                if not ready:
                    call.deadline.wait()  # it is there, and loads the model: that may take any time
            except grpc.RpcError as error:
                if gone(error):
                    self._elsewhere()
                else:
                    ready = True  # a server without that call says it itself
            except NoServer:
                pass
            except InferenceError:
                # It will not be ready there; elsewhere it may be.
                tried.add(connection.address)
                if self._elsewhere() in (None, *tried):
                    raise
            # The channel of calls asks for the model's health, and may not have got as far.
            if ready and (yield Connect(connection.calls, max(pause, 0.1))):
                return was_gone
            was_gone = True
            yield Pause(pause)
        raise AssertionError


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
