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
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

import grpc

from modelfs.client_channel import Tls
from modelfs.client_core import Connect, Core, Pause, Read, Send, Step
from modelfs.client_errors import InferenceError, InferenceTimeout, NoServer
from modelfs.client_result import Array, Result
from modelfs.mountpoint import Mount

_T = TypeVar("_T")


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
        self._core = Core(grpc, model, address, mount, token, tls, timeout, by_reference)

    @property
    def model(self) -> str | None:
        return self._core.model

    @property
    def address(self) -> str:
        """The server that is called now."""
        return self._core.connection().address

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
        call = self._core.call(inputs, outputs, model, parameters, priority, timeout, id)
        return _drive(self._core.infer(call))

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
        call = self._core.call(inputs, outputs, model, parameters, priority, timeout, id, streamed=True)
        with contextlib.closing(self._core.stream(call)) as steps:
            while (result := _drive(steps)) is not None:
                yield result

    def ready(self, model: str | None = None) -> bool:
        """Whether the model can be called now; without one, whether all of the server's can."""
        return _drive(self._core.ready(model))

    def wait_ready(self, timeout: float | None = None, model: str | None = None) -> None:
        """Returns when the model can be called; InferenceError if it will not be, InferenceTimeout after the timeout."""
        _drive(self._core.wait_ready(timeout, model))

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

    def load(self, model: str | None = None, timeout: float | None = None) -> None:
        """Has the server load a model; returns when it is ready."""
        _drive(self._core.manage("RepositoryModelLoad", timeout, model_name=self._core.named(model)))

    def unload(self, model: str | None = None, timeout: float | None = None) -> None:
        """Has the server let go of a model."""
        _drive(self._core.manage("RepositoryModelUnload", timeout, model_name=self._core.named(model)))

    def close(self) -> None:
        """Ends the connections, and removes the client's session; arrays of results stay what they are."""
        for channel in self._core.end():
            channel.close()
        self._core.references.close()

    def __enter__(self) -> Client:  # noqa: PYI034 - Self is Python 3.11's
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, **fields: Any) -> Any:  # noqa: ANN401 - a message
        return _drive(self._core.ask(method, **fields))


def _drive(steps: Generator[Step | _T, Any, _T]) -> _T:
    """Does the steps of a call, up to its result; of a stream, up to the next result, or None."""
    try:
        step = next(steps)
        while isinstance(step, Step):
            try:
                answer = _do(step)
            except BaseException as error:  # noqa: BLE001 - the call's to raise
                step = steps.throw(error)
            else:
                step = steps.send(answer)
        return step
    except StopIteration as end:
        last: _T = end.value
        return last


def _do(step: Step) -> Any:  # noqa: ANN401 - what the step is for
    match step:
        case Send():
            return step.stub(step.request, timeout=step.timeout, metadata=step.metadata, wait_for_ready=step.wait)
        case Read():
            return next(step.stream, None)
        case Connect():
            return _is_connected(step.channel, step.within)
        case Pause():
            time.sleep(step.seconds)


def _is_connected(channel: grpc.Channel, within: float) -> bool:
    ready = grpc.channel_ready_future(channel)
    try:
        ready.result(timeout=within)
        return True
    except grpc.FutureTimeoutError:
        ready.cancel()
        return False


__all__ = ["Client", "InferenceError", "InferenceTimeout", "NoServer", "Result", "Tls"]
