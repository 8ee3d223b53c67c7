# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Processes that map one file together, step by step. It is a module of its own, since
what multiprocessing spawns imports it."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import multiprocessing
import re
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from index import map_file

STEP_TIMEOUT = 30  # seconds


class Sharer:
    """One process: it opens and maps a file, then digests it, and keeps the mapping until told to end."""

    def __init__(self, path: Path, private: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_share, args=(theirs, str(path), private), daemon=True)
        self.process.start()
        theirs.close()

    def go(self) -> None:
        """Begins the next step."""
        self._pipe.send(None)

    def answer(self) -> str:
        """What the step that was begun has found; OSError where it failed."""
        if not self._pipe.poll(STEP_TIMEOUT):
            raise TimeoutError(f"process {self.process.pid} does not answer")
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self._pipe.close()


@contextlib.contextmanager
def sharers(path: Path, count: int, private: bool = False) -> Iterator[list[Sharer]]:
    """Starts processes that wait for their first step. private ones read the file into memory of their own."""
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(count):
            started.append(Sharer(path, private))
            stack.callback(started[-1].end)
        for sharer in started:
            sharer.answer()
        yield started


def step(started: list[Sharer]) -> list[str]:
    """All do their next step at the same time."""
    for sharer in started:
        sharer.go()
    return [sharer.answer() for sharer in started]


def _share(pipe: Connection, path: str, private: bool) -> None:
    """The process. Its steps: open and map; digest; say what it costs."""
    try:
        pipe.send("ready")
        pipe.recv()
        content = bytearray(Path(path).read_bytes()) if private else map_file(Path(path))
        pipe.send("open")
        pipe.recv()
        pipe.send(hashlib.sha256(content).hexdigest())
        pipe.recv()
        pipe.send(str(_proportional_bytes(path, content)))
        pipe.recv()
    except OSError as e:
        pipe.send(e)
    except EOFError:  # the test has ended
        pass


def _proportional_bytes(path: str, content: object) -> int:
    """What the kernel says this process has of the content: of pages that n processes map, the nth part."""
    if not isinstance(content, bytearray):
        return sum(size for head, size in _mappings() if head.endswith(path))
    at = ctypes.addressof(ctypes.c_char.from_buffer(content))
    return sum(size for head, size in _mappings() if _holds(head, at))


def _mappings() -> Iterator[tuple[str, int]]:
    """The first line of each mapping in smaps, and its Pss in bytes."""
    head = ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            head = line
        elif line.startswith("Pss:"):
            yield head, int(line.split()[1]) * 1024


def _holds(head: str, address: int) -> bool:
    start, end = (int(n, 16) for n in head.split()[0].split("-"))
    return start <= address < end
