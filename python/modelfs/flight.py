# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""One load at a time for each key within the process, for any number of threads and tasks.

Whose load fails gets the error; of those who waited, one takes its turn. So a load that
always fails runs once for every caller and never twice at a time.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


def _landing() -> Future[None]:
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()  # so that a task that is cancelled does not cancel it for all
    return future


@dataclass
class _Flight:
    """A load that runs. It lands without a result: who waited looks whether there is one now."""

    thread: int = field(default_factory=threading.get_ident)
    landed: Future[None] = field(default_factory=_landing)


class Flights(Generic[T]):
    """What was loaded, by key, and what is being loaded."""

    def __init__(self) -> None:
        self.loaded: dict[Hashable, T] = {}  # read without the lock
        self._lock = threading.Lock()
        self._flights: dict[Hashable, _Flight] = {}  # guarded by _lock
        os.register_at_fork(after_in_child=self._in_child)

    def _in_child(self) -> None:
        """The parent's other threads are not here: their locks stay locked, their loads never land."""
        self._lock = threading.Lock()
        self._flights.clear()

    def run(self, key: Hashable, load: Callable[[], T]) -> T:
        """What is loaded, or what load makes."""
        while True:
            loaded, flight, mine = self._join(key)
            if flight is None:
                return loaded[0]
            if mine:
                return self._load(key, flight, load)
            if flight.thread == threading.get_ident():
                raise RuntimeError(f"the load_fn of {key!r} asks for what it is to load")
            flight.landed.result()

    async def arun(self, key: Hashable, load: Callable[[], T]) -> T:
        """The same for a task: load runs in a thread of its own, which a task that is cancelled leaves running."""
        while True:
            loaded, flight, mine = self._join(key)
            if flight is None:
                return loaded[0]
            if mine:
                return await asyncio.wrap_future(self._start(key, flight, load))
            await asyncio.wrap_future(flight.landed)

    def _join(self, key: Hashable) -> tuple[tuple[T, ...], _Flight | None, bool]:
        with self._lock:
            if key in self.loaded:
                return (self.loaded[key],), None, False
            flight = self._flights.get(key)
            if flight is not None:
                return (), flight, False
            flight = self._flights[key] = _Flight()
            return (), flight, True

    def _load(self, key: Hashable, flight: _Flight, load: Callable[[], T]) -> T:
        try:
            loaded = load()
            with self._lock:
                self.loaded[key] = loaded
            return loaded
        finally:
            with self._lock:
                if self._flights.get(key) is flight:
                    del self._flights[key]
            flight.landed.set_result(None)

    def _start(self, key: Hashable, flight: _Flight, load: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        context = contextvars.copy_context()

        def fly() -> None:
            flight.thread = threading.get_ident()
            try:
                future.set_result(context.run(self._load, key, flight, load))
            except BaseException as error:  # noqa: BLE001 - whatever it is, the caller gets it
                future.set_exception(error)

        try:
            threading.Thread(target=fly, name="modelfs-load").start()
        except BaseException:
            with self._lock:
                self._flights.pop(key, None)
            flight.landed.set_result(None)
            raise
        return future

    def forget(self, key: Hashable) -> bool:
        """Lets go of what is loaded; who has it keeps it."""
        with self._lock:
            return self.loaded.pop(key, None) is not None

    def forget_all(self, chosen: Callable[[Hashable], bool]) -> int:
        """Lets go of what is loaded under the chosen keys; returns how many there were."""
        with self._lock:
            keys = [key for key in self.loaded if chosen(key)]
            for key in keys:
                del self.loaded[key]
            return len(keys)
