# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Runs calls: one by one, several in threads, or several on an event loop.

One by one is the fastest, since the thread that receives a call also runs and answers it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import queue
import signal
import threading
from collections import deque
from collections.abc import Iterator
from types import FrameType
from typing import Any, cast

from modelfs.worker import HandlerError, _cancelled, _deadline, records, results
from modelfs.worker.channel import Channel
from modelfs.worker.finding import Handler
from modelfs.worker.records import BrokenProtocol, Call, Place
from modelfs.worker.results import Results, WrongResult

logger = logging.getLogger("modelfs.worker")

INTERNAL, RESOURCE_EXHAUSTED, CANCELLED = 13, 8, 1


class _Nobody(Exception):
    """Nobody waits for the call any more."""


class _Terminated(BaseException):
    """SIGTERM came while nothing ran."""


class Server:
    """What the three have in common."""

    def __init__(self, handler: Handler, channel: Channel) -> None:
        self.handler = handler
        self.channel = channel
        self.results = Results(handler, channel)

    def start(self, call: Call) -> Any:  # noqa: ANN401 - what infer returns
        arrays = results.inputs(self.channel, call)
        if self.handler.with_parameters:
            return self.handler.infer(arrays, call.parameters)
        return self.handler.infer(arrays)

    def fail(self, call: Call, error: BaseException) -> None:
        """Says why a call failed."""
        if isinstance(error, _Nobody):
            code, text = CANCELLED, "nobody waits for it"
        elif isinstance(error, HandlerError):
            code, text = error.code, str(error)
        elif isinstance(error, WrongResult):
            code, text = INTERNAL, str(error)
            logger.error("%s", error)
        else:
            code, text = INTERNAL, " ".join(f"{type(error).__name__}: {error}".split())
            logger.error("a call failed", exc_info=error)
        self.channel.send(records.fail(call.id, code, text or type(error).__name__))

    def check_stream(self, result: object) -> None:
        if not self.handler.decoupled:
            kind = type(result).__name__
            raise WrongResult(f"infer returned a {kind}: a handler that streams is a generator function, or decoupled")


def _region(answer: tuple[int, Place], asked: int) -> Place:
    flags, place = answer
    if flags & records.NOBODY:
        raise _Nobody
    if flags & records.NO_ROOM:
        error = HandlerError(f"there is no room for {asked} bytes of outputs")
        error.code = RESOURCE_EXHAUSTED
        raise error
    return place


class _Blocking(Server):
    """Calls that keep a thread until they are done."""

    def ask(self, call: Call, size: int) -> tuple[int, Place]:
        """Asks for room and waits for it."""
        raise NotImplementedError

    def run(self, call: Call) -> None:
        """Runs a call to its end. Its failures are the caller's to hear, not this process's."""
        try:
            if call.deadline is not None:
                _deadline.set(call.deadline)
            result = self.start(call)
            if isinstance(result, dict) or not isinstance(result, Iterator):
                self.answer(call, result, last=True)
            else:
                self.check_stream(result)
                self.stream(call, result)
        except Exception as error:  # noqa: BLE001 - whatever it is
            self.fail(call, error)
        finally:
            if call.deadline is not None:
                _deadline.set(None)

    def answer(self, call: Call, result: object, last: bool) -> None:
        outputs = self.results.outputs(call, result)
        need = self.results.room(call, outputs)
        if need:
            call.region = _region(self.ask(call, need), need)
        self.channel.send(self.results.write(call, outputs, last))

    def stream(self, call: Call, items: Iterator[object]) -> None:
        """One record for each item. The region is asked for anew before the next, which says that the last
        item has been taken."""
        first = True
        with contextlib.closing(cast(Any, items)) if hasattr(items, "close") else contextlib.nullcontext():
            for item in items:
                outputs = self.results.outputs(call, item)
                need = self.results.room(call, outputs)
                if not first:
                    size = sum(o.size + results.ALIGNMENT for o in outputs if o.place is None and o.size)
                    call.region = _region(self.ask(call, size), size)
                elif need:
                    call.region = _region(self.ask(call, need), need)
                self.channel.send(self.results.write(call, outputs, last=False))
                first = False
        self.channel.send(records.result(call.id, True, []))


class OneByOne(_Blocking):
    """One call at a time, in the thread that receives."""

    def __init__(self, handler: Handler, channel: Channel) -> None:
        super().__init__(handler, channel)
        self._later: deque[Call] = deque()
        self._stopping = False
        self._idle = False
        self._current: Call | None = None
        self._given_up = False  # by whoever waits for the current call

    def serve(self) -> None:
        signal.signal(signal.SIGTERM, self._terminate)
        _cancelled.set(self._ask_cancelled)
        with contextlib.suppress(_Terminated):
            while (call := self._next()) is not None:
                self._current, self._given_up = call, False
                self.run(call)
                self._current = None
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _terminate(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True
        if self._idle:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise _Terminated

    def _next(self) -> Call | None:
        """The next call; None when there is to be none."""
        while True:
            if self._later:
                return self._later.popleft()
            self._idle = True
            if self._stopping:
                return None
            received = self.channel.receive()
            self._idle = False
            if received is None:
                return None
            kind, _, _, record = received
            if kind == records.INFER:
                return records.call(record)
            self._take(*received)

    def _take(self, kind: int, _flags: int, id: int, record: memoryview) -> None:
        if kind == records.STOP:
            self._stopping = True
        elif kind == records.CANCEL:
            if self._current is not None and self._current.id == id:
                self._given_up = True
            for call in [call for call in self._later if call.id == id]:
                self._later.remove(call)
                self.fail(call, _Nobody())
        elif kind == records.INFER:
            self._later.append(records.call(record))
        else:
            raise BrokenProtocol(f"a record of type {kind}")

    def ask(self, call: Call, size: int) -> tuple[int, Place]:
        self.channel.send(records.room(call.id, size))
        while True:
            received = self.channel.receive()
            if received is None:
                raise SystemExit(0)
            kind, flags, id, record = received
            if kind == records.REGION and id == call.id:
                return flags, records.region(record)
            self._take(*received)

    def _ask_cancelled(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            while not self._given_up and (received := self.channel.receive(wait=False)) is not None:
                self._take(*received)
        return self._given_up


class InThreads(_Blocking):
    """Several calls at a time, each in a thread; one more receives."""

    def __init__(self, handler: Handler, channel: Channel) -> None:
        super().__init__(handler, channel)
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._answers: dict[int, queue.SimpleQueue[tuple[int, Place]]] = {}
        self._given_up: set[int] = set()
        self._running: set[int] = set()

    def serve(self) -> None:
        signal.signal(signal.SIGTERM, _raise_terminated)
        # Daemons: when the server is gone, nobody waits for what still runs.
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.handler.concurrency)]
        for thread in threads:
            thread.start()
        stopping = False
        try:
            while (received := self.channel.receive()) is not None:
                if self._take(*received):
                    stopping = True
                    break
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        except _Terminated:
            stopping = True
        for _ in threads:
            self._calls.put(None)
        if stopping:
            # What runs may ask for room until it is done.
            receiver = threading.Thread(target=self._receive, daemon=True)
            receiver.start()
            for thread in threads:
                thread.join()

    def _receive(self) -> None:
        while (received := self.channel.receive()) is not None:
            self._take(*received)

    def _take(self, kind: int, flags: int, id: int, record: memoryview) -> bool:
        if kind == records.INFER:
            call = records.call(record)
            with self._lock:
                self._running.add(id)
                self._answers[id] = queue.SimpleQueue()
            self._calls.put(call)
        elif kind == records.REGION:
            with self._lock:
                answers = self._answers.get(id)
            if answers is not None:
                answers.put((flags, records.region(record)))
        elif kind == records.CANCEL:
            with self._lock:
                if id in self._running:
                    self._given_up.add(id)
        elif kind != records.STOP:
            raise BrokenProtocol(f"a record of type {kind}")
        return kind == records.STOP

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            _cancelled.set(lambda id=call.id: id in self._given_up)  # type: ignore[misc]
            try:
                self.run(call)
            finally:
                with self._lock:
                    self._running.discard(call.id)
                    self._given_up.discard(call.id)
                    del self._answers[call.id]

    def ask(self, call: Call, size: int) -> tuple[int, Place]:
        self.channel.send(records.room(call.id, size))
        return self._answers[call.id].get()


def _raise_terminated(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Terminated


class OnLoop(Server):
    """Several calls at a time on one event loop."""

    def __init__(self, handler: Handler, channel: Channel) -> None:
        super().__init__(handler, channel)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._answers: dict[int, asyncio.Future[tuple[int, Place]]] = {}
        self._begun: set[int] = set()
        self._given_up: set[int] = set()

    def serve(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[bool] = loop.create_future()  # whether what runs is waited for
        loop.add_signal_handler(signal.SIGTERM, lambda: None if ended.done() else ended.set_result(True))
        loop.add_reader(self.channel.fileno(), self._readable, ended)
        wait = await ended
        if wait and self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        loop.remove_reader(self.channel.fileno())
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _readable(self, ended: asyncio.Future[bool]) -> None:
        try:
            while True:
                received = self.channel.receive(wait=False)
                if received is None:
                    asyncio.get_running_loop().remove_reader(self.channel.fileno())
                    if not ended.done():
                        ended.set_result(False)
                    return
                if self._take(*received) and not ended.done():
                    ended.set_result(True)
        except BlockingIOError:
            pass
        except Exception as error:  # noqa: BLE001 - it ends serve()
            asyncio.get_running_loop().remove_reader(self.channel.fileno())
            if not ended.done():
                ended.set_exception(error)

    def _take(self, kind: int, flags: int, id: int, record: memoryview) -> bool:
        if kind == records.INFER:
            call = records.call(record)
            self._tasks[id] = asyncio.get_running_loop().create_task(self._run(call))
        elif kind == records.REGION:
            waiting = self._answers.pop(id, None)
            if waiting is not None and not waiting.done():
                waiting.set_result((flags, records.region(record)))
        elif kind == records.CANCEL:
            task = self._tasks.get(id)
            if task is not None and id not in self._given_up:
                self._given_up.add(id)
                # A task that is cancelled before it has begun never does, and answers nothing. Who waits for room
                # is told so by the answer, which has to be taken in any case.
                if id in self._begun and id not in self._answers:
                    task.cancel()
        elif kind != records.STOP:
            raise BrokenProtocol(f"a record of type {kind}")
        return kind == records.STOP

    async def _run(self, call: Call) -> None:
        _deadline.set(call.deadline)  # the task's own
        _cancelled.set(lambda: call.id in self._given_up)
        self._begun.add(call.id)
        try:
            if call.id in self._given_up:
                raise _Nobody
            result = self.start(call)
            if inspect.isasyncgen(result):
                self.check_stream(result)
                await self._stream(call, result)
            else:
                outputs = self.results.outputs(call, await result)
                need = self.results.room(call, outputs)
                if need:
                    await self._ask(call, need)
                self.channel.send(self.results.write(call, outputs, last=True))
        except asyncio.CancelledError:
            self.fail(call, _Nobody())
        except Exception as error:  # noqa: BLE001 - whatever it is
            self.fail(call, error)
        finally:
            del self._tasks[call.id]
            self._begun.discard(call.id)
            self._given_up.discard(call.id)

    async def _stream(self, call: Call, items: Any) -> None:  # noqa: ANN401 - an asynchronous generator
        first = True
        async with contextlib.aclosing(items):
            async for item in items:
                outputs = self.results.outputs(call, item)
                need = self.results.room(call, outputs)
                if not first:
                    need = sum(o.size + results.ALIGNMENT for o in outputs if o.place is None and o.size)
                if need or not first:
                    await self._ask(call, need)
                self.channel.send(self.results.write(call, outputs, last=False))
                first = False
        self.channel.send(records.result(call.id, True, []))

    async def _ask(self, call: Call, size: int) -> None:
        answer = self._answers[call.id] = asyncio.get_running_loop().create_future()
        self.channel.send(records.room(call.id, size))
        call.region = _region(await answer, size)


def server(handler: Handler, channel: Channel) -> OneByOne | InThreads | OnLoop:
    """The one that a handler needs."""
    if handler.asynchronous:
        return OnLoop(handler, channel)
    return OneByOne(handler, channel) if handler.concurrency == 1 else InThreads(handler, channel)
