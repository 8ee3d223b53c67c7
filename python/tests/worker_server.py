# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The server's end of a handler's socket, with which tests drive a real handler process: the records as
workers/handler/doc.go has them, packed here once more, so that both sides are held to the description."""

from __future__ import annotations

import array
import json
import mmap
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = Path(__file__).resolve().parents[1]
DATATYPES = "BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 BYTES BF16".split()  # noqa: SIM905
NUMPY = "|b1 |u1 <u2 <u4 <u8 |i1 <i2 <i4 <i8 <f2 <f4 <f8 - <u2".split()  # noqa: SIM905
HELLO, FILES, FORGET, INFER, CANCEL, RESULT, FAIL, ROOM, REGION, STOP, LOG = range(1, 12)


class Failed(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Encoded:
    """Elements of BYTES as they are sent, be that as it may."""

    data: bytes
    shape: tuple[int, ...]


class Memory:
    """A file that both have mapped."""

    def __init__(self, key: int, size: int) -> None:
        self.key, self.size = key, size
        self.fd = os.memfd_create("modelfs-test")
        os.truncate(self.fd, size)
        self.map = mmap.mmap(self.fd, size)
        self.known = False


class Worker:
    """A handler process, and what it said of itself."""

    def __init__(self, *flags: object, env: Mapping[str, str] | None = None) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket = ours
        self.socket.settimeout(100)
        fd = theirs.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "modelfs.worker", "--fd", str(fd), *map(str, flags)],
            env=os.environ | {"PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1"} | (env or {}),
            pass_fds=[fd],
        )
        theirs.close()
        self.log: list[str] = []
        self.inputs, self.outputs = Memory(1, 64 << 20), Memory(2, 64 << 20)
        self.rooms: list[int] = []
        self._next = 0
        kind, _, _, _, body = self.receive()
        assert kind == HELLO
        self.hello: dict[str, Any] = json.loads(body)

    def __enter__(self) -> Worker:  # noqa: PYI034 - Self is Python 3.11's
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.process.poll() is None and "error" not in self.hello:
                self.socket.send(struct.pack("<HHIQ", STOP, 0, 0, 0))
            status = self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            self.socket.close()
            for memory in (self.inputs, self.outputs):
                os.close(memory.fd)
        assert status == (1 if "error" in self.hello else 0), self.log

    def receive(self) -> tuple[int, int, int, int, bytes]:
        while True:
            record = self.socket.recv(1 << 17)
            assert record, f"the handler is gone: {self.process.wait()}, {self.log}"
            kind, flags, count, id = struct.unpack_from("<HHIQ", record)
            if kind != LOG:
                return kind, flags, count, id, record[16:]
            self.log.append(record[16:].decode())

    def send_file(self, memory: Memory, writable: bool) -> None:
        record = struct.pack("<HHIQ QQII", FILES, 0, 1, 0, memory.key, memory.size, writable, 0)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [memory.fd]))
        self.socket.sendmsg([record], [rights])
        memory.known = True

    def infer(
        self,
        inputs: Mapping[str, Any],
        *,
        asked: tuple[str, ...] = (),
        rows: int = 0,
        parameters: dict[str, Any] | None = None,
        room: int = 1 << 20,
        offset: int = 0,
    ) -> list[dict[str, Any]]:
        """All responses of a call."""
        id = self.begin(inputs, asked=asked, rows=rows, parameters=parameters, room=room, offset=offset)
        responses = []
        while True:
            kind, flags, count, answered, body = self.receive()
            assert answered == id
            if kind == FAIL:
                raise Failed(count, body.decode())
            if kind == ROOM:
                (size,) = struct.unpack("<Q", body)
                self.rooms.append(size)
                self.socket.send(struct.pack("<HHIQ QQQ", REGION, 0, 0, id, 2 if size else 0, 0, size))
                continue
            assert kind == RESULT
            if count or not responses:
                responses.append(self.outputs_of(body, count))
            if flags & 1:
                return responses

    def begin(
        self,
        inputs: Mapping[str, Any],
        *,
        asked: tuple[str, ...] = (),
        rows: int = 0,
        parameters: dict[str, Any] | None = None,
        room: int = 1 << 20,
        offset: int = 0,
    ) -> int:
        for memory, writable in ((self.inputs, False), (self.outputs, True)):
            if not memory.known:
                self.send_file(memory, writable)
        self._next += 1
        text = json.dumps(parameters).encode() if parameters else b""
        record = struct.pack("<HHIQ QQQ", INFER, 0, 0, self._next, 2, offset, room)
        record += struct.pack("<HHI q II", len(inputs), len(asked), rows, 0, len(text), 0)
        at = 0
        for name, value in inputs.items():
            code, shape, data = encoded(value)
            self.inputs.map[at : at + len(data)] = data
            record += tensor(1 if data else 0, at, len(data), code, shape, name)
            at += -(-len(data) // 64) * 64
        for name in asked:
            record += tensor(0, 0, 0, 0, (), name)
        self.socket.send(record + text)
        return self._next

    def outputs_of(self, body: bytes, count: int) -> dict[str, Any]:
        found, at = {}, 0
        for _ in range(count):
            key, offset, size, code, rank, length, zero = struct.unpack_from("<QQQ BBH I", body, at)
            shape = struct.unpack_from(f"<{rank}q", body, at + 32)
            at += 32 + 8 * rank
            name = body[at : at + length].decode()
            at += (length + 7) & ~7
            assert zero == 0 and (key == 2 or size == 0)
            assert offset % 64 == 0, "an output is not aligned"
            data = self.outputs.map[offset : offset + size]
            if DATATYPES[code - 1] == "BYTES":
                found[name] = decoded(data, shape)
            else:
                found[name] = np.frombuffer(data, NUMPY[code - 1]).reshape(shape)
        assert at == len(body)
        return found


def tensor(key: int, offset: int, size: int, code: int, shape: tuple[int, ...], name: str) -> bytes:
    text = name.encode()
    head = struct.pack("<QQQ BBH I", key, offset, size, code, len(shape), len(text), 0)
    return head + struct.pack(f"<{len(shape)}q", *shape) + text + bytes(-len(text) % 8)


def encoded(value: Any) -> tuple[int, tuple[int, ...], bytes]:  # noqa: ANN401 - whatever an array is made of
    if isinstance(value, Encoded):
        return 13, value.shape, value.data
    array = np.asarray(value)
    if array.dtype.kind in "OSU":
        texts = [e.encode() if isinstance(e, str) else e for e in array.ravel().tolist()]
        return 13, array.shape, b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return NUMPY.index(array.dtype.str) + 1, array.shape, array.tobytes()


def decoded(data: bytes, shape: tuple[int, ...]) -> list[bytes]:
    elements, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        elements.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    assert len(elements) == int(np.prod(shape))
    return elements
