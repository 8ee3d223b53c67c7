# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The client for asyncio: as modelfs.client, with ``await``."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, TypeVar

import grpc
import grpc.aio

from modelfs.client_channel import Tls
from modelfs.client_core import Connect, Core, Pause, Read, Send, Step
from modelfs.client_result import Array, Result
from modelfs.mountpoint import Mount

_T = TypeVar("_T")


class AsyncClient:
    """modelfs.Client for asyncio. It belongs to the event loop that runs when it is first used."""

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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._core = Core(grpc.aio, model, address, mount, token, tls, timeout, by_reference)

    @property
    def model(self) -> str | None:
        return self._core.model

    @property
    def fallbacks(self) -> int:
        """How many calls went inline though a reference would have been quicker."""
        return self._core.references.fallbacks

    def __repr__(self) -> str:
        return f"<modelfs.AsyncClient of {self._core.model or 'any model'}>"

    async def infer(
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
        """As Client.infer. A call that is cancelled is cancelled in the server, too."""
        call = self._core.call(inputs, outputs, model, parameters, priority, timeout, id)
        return await self._drive(self._core.infer(call))

    async def stream(
        self,
        inputs: Mapping[str, Any],
        outputs: Iterable[str] | None = None,
        *,
        model: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        priority: int | None = None,
        timeout: float | None = None,
        id: str = "",
    ) -> AsyncIterator[Result]:
        """As Client.stream: ``async for result in client.stream(inputs)``."""
        call = self._core.call(inputs, outputs, model, parameters, priority, timeout, id, streamed=True)
        with contextlib.closing(self._core.stream(call)) as steps:
            while (result := await self._drive(steps)) is not None:
                yield result

    async def ready(self, model: str | None = None) -> bool:
        """Whether the model can be called now; without one, whether all of the server's can."""
        return await self._drive(self._core.ready(model))

    async def wait_ready(self, timeout: float | None = None, model: str | None = None) -> None:
        """Returns when the model can be called; InferenceError if it will not be, InferenceTimeout after the timeout."""
        await self._drive(self._core.wait_ready(timeout, model))

    async def server(self) -> Any:  # noqa: ANN401 - a message
        """The server's metadata."""
        return await self._ask("ServerMetadata")

    async def metadata(self, model: str | None = None) -> Any:  # noqa: ANN401 - a message
        """What the model takes and gives."""
        return await self._ask("ModelMetadata", name=self._core.named(model))

    async def config(self, model: str | None = None) -> Any:  # noqa: ANN401 - a message
        """The model's configuration, as Triton has it."""
        return (await self._ask("ModelConfig", name=self._core.named(model))).config

    async def statistics(self, model: str | None = None) -> list[Any]:
        """The model's statistics; without a model, those of all."""
        return list((await self._ask("ModelStatistics", name=model or self._core.model or "")).model_stats)

    async def models(self) -> list[Any]:
        """The models that the server has, ready or not: name, version, state, reason."""
        return list((await self._ask("RepositoryIndex")).models)

    async def load(self, model: str | None = None, timeout: float | None = None) -> None:
        """Has the server load a model; returns when it is ready."""
        await self._drive(self._core.manage("RepositoryModelLoad", timeout, model_name=self._core.named(model)))

    async def unload(self, model: str | None = None, timeout: float | None = None) -> None:
        """Has the server let go of a model."""
        await self._drive(self._core.manage("RepositoryModelUnload", timeout, model_name=self._core.named(model)))

    async def close(self) -> None:
        """Ends the connections, and removes the client's session; arrays of results stay what they are."""
        for channel in self._core.end():
            await channel.close()
        self._core.references.close()

    async def __aenter__(self) -> AsyncClient:  # noqa: PYI034 - Self is Python 3.11's
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, method: str, **fields: Any) -> Any:  # noqa: ANN401 - a message
        return await self._drive(self._core.ask(method, **fields))

    async def _drive(self, steps: Generator[Step | _T, Any, _T]) -> _T:
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise RuntimeError("this AsyncClient belongs to another event loop: make one in each, with `async with`")
        self._loop = loop
        return await _drive(steps)


async def _drive(steps: Generator[Step | _T, Any, _T]) -> _T:
    """As modelfs.client has it."""
    try:
        step = next(steps)
        while isinstance(step, Step):
            try:
                answer = await _do(step)
            except BaseException as error:  # noqa: BLE001 - the call's to raise
                step = steps.throw(error)
            else:
                step = steps.send(answer)
        return step
    except StopIteration as end:
        last: _T = end.value
        return last


async def _do(step: Step) -> Any:  # noqa: ANN401 - what the step is for
    match step:
        case Send():
            return await step.stub(step.request, timeout=step.timeout, metadata=step.metadata, wait_for_ready=step.wait)
        case Read():
            return await anext(aiter(step.stream), None)  # the same iterator each time
        case Connect():
            return await _is_connected(step.channel, step.within)
        case Pause():
            await asyncio.sleep(step.seconds)


async def _is_connected(channel: grpc.aio.Channel, within: float) -> bool:
    try:
        await asyncio.wait_for(channel.channel_ready(), within)
    except asyncio.TimeoutError:
        return False
    return True


__all__ = ["AsyncClient"]
