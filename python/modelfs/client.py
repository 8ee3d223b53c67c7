# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Calls of models that are served over the Open Inference Protocol, tensors by reference where that is quicker.

    with modelfs.Client("whisper-base") as client:  # found in the mount
        result = client.infer({"audio": samples})
        result["text"]

**Retries.** A call that fails with UNAVAILABLE was not answered, and is safe to repeat: gRPC does, by its service
config. A server that is gone is waited for, until the timeout, or for a minute; another one that the
mount lists takes its place. A model that does not work is an error at once, with the server's reason.

**By reference.** Inputs of 128 KiB and more are files of a session of the client's own; arrays of a
``modelfs.Session`` are named where they lie. Outputs of a size that an earlier answer had go to such files, too,
and come back as arrays that look at them. Each attempt has its own: see client_call.py. Where a reference cannot be used,
the call goes without one, and ``fallbacks`` counts it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

import grpc

from modelfs.client_call import Attempt, Call
from modelfs.client_channel import Tls, options
from modelfs.client_core import POLL, ROUNDS, Core, Deadline, gone, path_of, pauses, unreachable, verdict
from modelfs.client_errors import InferenceError, InferenceTimeout, NoServer, error_of
from modelfs.client_messages import UNARY
from modelfs.client_result import Array, Result
from modelfs.client_wire import Request, Response
from modelfs.mountpoint import Mount

_T = TypeVar("_T")


class _Connection:
    """The channels to one server."""

    def __init__(self, core: Core, address: str) -> None:
        self.address = address
        self._channels: list[grpc.Channel] = []
        self._lock = threading.Lock()
        self._core = core
        self.calls = self._open(healthy=True, retries=True)
        self.infer = self._infer(self.calls)
        self.stream = self.calls.stream_stream(
            path_of("ModelStreamInfer"),
            request_serializer=Request.serialize,
            response_deserializer=Response.parse_streamed,
        )
        self._once: Any = None
        self._unary: dict[str, Any] = {}
        self._control: grpc.Channel | None = None

    def _open(self, *, healthy: bool, retries: bool) -> grpc.Channel:
        chosen = options(self._core.model, healthy=healthy, retries=retries)
        if self._core.tls is not None:
            channel = grpc.secure_channel(self.address, self._core.tls.credentials(), chosen)
        else:
            channel = grpc.insecure_channel(self.address, chosen)
        self._channels.append(channel)
        return channel

    @staticmethod
    def _infer(channel: grpc.Channel) -> Any:  # noqa: ANN401 - grpc has no type of it
        return channel.unary_unary(
            path_of("ModelInfer"), request_serializer=Request.serialize, response_deserializer=Response.parse
        )

    @property
    def once(self) -> Any:  # noqa: ANN401 - grpc has no type of it
        """ModelInfer that gRPC sends once."""
        with self._lock:
            if self._once is None:
                self._once = self._infer(self._open(healthy=True, retries=False))
            return self._once

    def unary(self, method: str) -> Any:  # noqa: ANN401 - grpc has no type of it
        """A call to the server whether or not the model is ready."""
        with self._lock:
            if self._control is None:
                self._control = self._open(healthy=False, retries=True)
            if method not in self._unary:
                request, response = UNARY[method]
                self._unary[method] = self._control.unary_unary(
                    path_of(method),
                    request_serializer=request.SerializeToString,
                    response_deserializer=response.FromString,
                )
            return self._unary[method]

    def close(self) -> None:
        for channel in self._channels:
            channel.close()


class Client:
    """Calls a model, or several, of one server at a time.

    ``address`` is unix:/PATH or HOST:PORT; without one the mount says who serves, and servers of root and of one's
    own user are trusted. ``token`` says who calls over TCP, ``tls`` (True, or a Tls of files) encrypts that.
    ``timeout`` is for each call, in seconds; None: no end, but for servers that are gone. ``by_reference`` is
    "auto", "always" (an error where it cannot be) or "never". It may be used by several threads, and after
    a fork by the process that made it alone.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        address: str | None = None,
        mount: str | os.PathLike[str] | Mount | None = None,
        token: str | None = None,
        tls: bool | Tls | None = None,
        timeout: float | None = None,
        by_reference: str | bool = "auto",
    ) -> None:
        self._core = Core(model, address, mount, token, tls, timeout, by_reference)
        self._lock = threading.Lock()
        self._current: _Connection | None = None
        self._old: list[_Connection] = []
        self._closed = False

    @property
    def model(self) -> str | None:
        return self._core.model

    @property
    def address(self) -> str:
        """The server that is called now."""
        return self._connection().address

    @property
    def fallbacks(self) -> int:
        """How many calls went inline though a reference would have been quicker."""
        return self._core.references.fallbacks

    def __repr__(self) -> str:
        return f"<modelfs.Client of {self._core.model or 'any model'}>"

    def infer(
        self,
        inputs: Mapping[str, Any],
        outputs: Iterable[str] | Mapping[str, Array | None] | None = None,
        *,
        model: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        priority: int | None = None,
        timeout: float | None = None,
        id: str = "",
    ) -> Result:
        """Calls the model: arrays by name in, arrays by name out. BYTES are lists of bytes or str, or arrays of them.

        ``outputs`` are the names of those that are wanted, or a dict of them: an array of a session of the
        mount is where the output goes; that call is sent once. Priority 1 is first."""
        name, deadline = self._core.named(model), self._core.deadline(timeout)
        call = Call(self._core.references, name, inputs, outputs, parameters, priority, deadline.left(), id)
        failed = True
        try:
            result = self._repeat(name, deadline, lambda c: self._attempt(c, call, deadline), once=call.to_files)
            failed = False
            return result
        finally:
            call.give_back(failed=failed)

    def stream(
        self,
        inputs: Mapping[str, Any],
        outputs: Iterable[str] | None = None,
        *,
        model: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        priority: int | None = None,
        timeout: float | None = None,
        id: str = "",
    ) -> Iterator[Result]:
        """Calls a model that answers any number of times; each result comes when it is there. Leaving the loop, or
        closing the iterator, cancels the call."""
        name, deadline = self._core.named(model), self._core.deadline(timeout)
        call = Call(self._core.references, name, inputs, outputs, parameters, priority, None, id, streamed=True)
        failed = True
        try:
            first, rest = self._repeat(name, deadline, lambda c: self._begin(c, call, deadline))
            while first is not None:
                yield first
                first = next(rest, None)
            failed = False
        finally:
            call.give_back(failed=failed)

    def ready(self, model: str | None = None) -> bool:
        """Whether the model can be called now; without one, whether all of the server's can."""
        name = model or self._core.model
        try:
            if name:
                return bool(self._ask("ModelReady", wait=False, timeout=POLL, name=name).ready)
            return bool(self._ask("ServerReady", wait=False, timeout=POLL).ready)
        except InferenceError:
            return False

    def wait_ready(self, timeout: float | None = None, model: str | None = None) -> None:
        """Returns when the model can be called; InferenceError if it will not be, InferenceTimeout after the timeout."""
        name, deadline = model or self._core.model, self._core.deadline(timeout)
        for pause in pauses():
            if self.ready(model):
                return
            cause = InferenceError("UNAVAILABLE", f"{name or 'the server'} is not ready")
            if name:
                try:
                    index = self._ask("RepositoryIndex", wait=False, timeout=POLL)
                except InferenceError as error:
                    cause = error
                    self._elsewhere()
                else:
                    verdict(name, index)
            deadline.check(cause)
            time.sleep(pause)

    def server(self) -> Any:  # noqa: ANN401 - a message
        """The server's metadata."""
        return self._ask("ServerMetadata")

    def metadata(self, model: str | None = None) -> Any:  # noqa: ANN401 - a message
        """What the model takes and gives."""
        return self._ask("ModelMetadata", name=self._core.named(model))

    def config(self, model: str | None = None) -> Any:  # noqa: ANN401 - a message
        """The model's configuration, as Triton has it."""
        return self._ask("ModelConfig", name=self._core.named(model)).config

    def statistics(self, model: str | None = None) -> list[Any]:
        """The model's statistics; without a model, those of all."""
        return list(self._ask("ModelStatistics", name=model or self._core.model or "").model_stats)

    def models(self) -> list[Any]:
        """The models that the server has, ready or not: name, version, state, reason."""
        return list(self._ask("RepositoryIndex").models)

    def load(self, model: str | None = None) -> None:
        """Has the server load a model; returns when it is ready."""
        self._ask("RepositoryModelLoad", timeout=0, model_name=self._core.named(model))

    def unload(self, model: str | None = None) -> None:
        """Has the server let go of a model."""
        self._ask("RepositoryModelUnload", timeout=0, model_name=self._core.named(model))

    def close(self) -> None:
        """Ends the connections, and removes the client's session; arrays of results stay what they are."""
        with self._lock:
            self._closed = True
            connections = [*self._old, *([self._current] if self._current is not None else [])]
            self._current, self._old = None, []
        for connection in connections:
            connection.close()
        self._core.references.close()

    def __enter__(self) -> Client:  # noqa: PYI034 - Self is Python 3.11's
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connection(self) -> _Connection:
        current = self._current
        if current is not None:
            return current
        with self._lock:
            if self._closed:
                raise ValueError("the client is closed")
            if self._current is None:
                self._current = _Connection(self._core, self._core.server())
            return self._current

    def _elsewhere(self) -> str | None:
        """Goes on to another server, if the mount lists one. Other threads may be calling the old one still."""
        current = self._current
        if current is not None:
            with contextlib.suppress(NoServer, OSError):
                address = self._core.server(failed=current.address)
                with self._lock:
                    if address != current.address and self._current is current:
                        self._old.append(current)
                        self._current = _Connection(self._core, address)
                        return address
        return None

    def _ask(self, method: str, *, wait: bool = True, timeout: float | None = None, **fields: Any) -> Any:  # noqa: ANN401 - a message
        limit = timeout if timeout is not None else self._core.timeout or 10.0
        try:
            return self._connection().unary(method)(
                UNARY[method][0](**fields),
                timeout=limit or None,
                metadata=self._core.metadata,
                wait_for_ready=wait,
            )
        except grpc.RpcError as error:
            raise error_of(error) from None

    def _attempt(self, connection: _Connection, call: Call, deadline: Deadline) -> Result:
        while True:
            attempt = call.attempt()
            send = connection.once if attempt.once else connection.infer
            try:
                response = send(attempt.request, timeout=deadline.left(), metadata=self._core.metadata)
            except grpc.RpcError as error:
                attempt.end()
                failure = error_of(error)
                if not call.refused(attempt, failure):
                    raise failure from None
            except BaseException:  # interrupted
                attempt.end()
                raise
            else:
                return call.result(attempt, response)

    def _begin(self, connection: _Connection, call: Call, deadline: Deadline) -> tuple[Result | None, Iterator[Result]]:
        """The first result, and those that follow: before it, nothing has happened yet."""
        while True:
            attempt = call.attempt()
            rest = self._streamed(connection, call, attempt, deadline)
            try:
                return next(rest, None), rest
            except InferenceError as failure:
                if not call.refused(attempt, failure):
                    raise

    def _streamed(self, connection: _Connection, call: Call, attempt: Attempt, deadline: Deadline) -> Iterator[Result]:
        running = connection.stream(iter([attempt.request]), timeout=deadline.left(), metadata=self._core.metadata)
        try:
            for message, response in running:
                if message:
                    raise InferenceError("UNKNOWN", message)
                if response is not None and response.message.outputs:
                    yield call.result(attempt, response)
        except grpc.RpcError as error:
            raise error_of(error) from None
        finally:
            running.cancel()

    def _repeat(self, model: str, deadline: Deadline, attempt: Callable[[_Connection], _T], once: bool = False) -> _T:
        """Makes a call, and makes it again when the server was gone and is back."""
        for rounds in range(1, ROUNDS + 1):
            try:
                return attempt(self._connection())
            except InferenceError as failure:
                if failure.code != "UNAVAILABLE" or rounds == ROUNDS or (once and not unreachable(failure)):
                    raise
                cause = failure
            was_gone = self._wait(model, deadline, cause)
            if rounds > 1 and not was_gone:
                raise cause  # the server is there: it is the call that does not work
        raise AssertionError

    def _wait(self, model: str, deadline: Deadline, cause: InferenceError) -> bool:
        """Returns when a server is ready for the model: whether it was not at first."""
        was_gone, tried = False, set[str]()
        for pause in pauses():
            deadline.check(cause)
            ready = False
            try:
                connection = self._connection()
                index = connection.unary("RepositoryIndex")(
                    UNARY["RepositoryIndex"][0](), timeout=POLL, metadata=self._core.metadata, wait_for_ready=False
                )
                ready = verdict(model, index)
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
            if ready and self._is_connected(connection, pause):
                return was_gone
            was_gone = True
            time.sleep(pause)
        raise AssertionError

    @staticmethod
    def _is_connected(connection: _Connection, within: float) -> bool:
        """Whether the channel of calls, which asks for the model's health, has got as far."""
        ready = grpc.channel_ready_future(connection.calls)
        try:
            ready.result(timeout=max(within, 0.1))
            return True
        except grpc.FutureTimeoutError:
            ready.cancel()
            return False


__all__ = ["Client", "InferenceError", "InferenceTimeout", "NoServer", "Result", "Tls"]
