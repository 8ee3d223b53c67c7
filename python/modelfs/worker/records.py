# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The records between server and handler, to the byte; the description is in workers/handler/doc.go."""

from __future__ import annotations

import json
import struct
import time
from dataclasses import dataclass, field
from typing import Any

HELLO, FILES, FORGET, INFER, CANCEL, RESULT, FAIL, ROOM, REGION, STOP, LOG = range(1, 12)
LAST = 1  # of RESULT
NOBODY, NO_ROOM = 1, 2  # of REGION
MAX_RECORD = 64 << 10
MAX_RANK, MAX_NAME, MAX_FILES = 16, 1000, 16

_header = struct.Struct("<HHIQ")
_file = struct.Struct("<QQII")
_infer = struct.Struct("<HHIQ QQQ HHI q II")
_tensor = struct.Struct("<QQQ BBH I")
_region = struct.Struct("<QQQ")
_room = struct.Struct("<HHIQ Q")
_shapes = [struct.Struct(f"<{rank}q") for rank in range(MAX_RANK + 1)]

Place = tuple[int, int, int]  # key, offset, bytes


class BrokenProtocol(Exception):
    """The server sent what it may not."""


@dataclass(slots=True)
class Tensor:
    """One that a call has, or asks for."""

    name: str
    code: int
    shape: tuple[int, ...]
    place: Place


@dataclass(slots=True)
class Call:
    """A call, as INFER has it."""

    id: int
    region: Place
    rows: int
    deadline: float | None  # by time.monotonic
    inputs: list[Tensor]
    outputs: list[Tensor]  # empty: all
    parameters: dict[str, Any] = field(default_factory=dict)


_names: dict[bytes, str] = {}  # of tensors, few and always the same; emptied when they are not


def _name(encoded: bytes) -> str:
    name = _names.get(encoded)
    if name is None:
        if len(_names) > 1000:
            _names.clear()
        name = _names[encoded] = encoded.decode("utf-8", "surrogateescape")
    return name


def header(record: memoryview) -> tuple[int, int, int, int]:
    """Type, flags, count and id."""
    if len(record) < _header.size or len(record) > MAX_RECORD:
        raise BrokenProtocol(f"a record of {len(record)} bytes")
    return _header.unpack_from(record)


def call(record: memoryview) -> Call:
    """INFER."""
    try:
        (_, _, _, id, key, offset, size, n_inputs, n_outputs, rows, left, n_parameters, _) = _infer.unpack_from(record)
        deadline = time.monotonic() + left / 1e9 if left else None
        at, tensors = _infer.size, []
        for _ in range(n_inputs + n_outputs):
            place_key, place_offset, place_bytes, code, rank, length, _ = _tensor.unpack_from(record, at)
            at += _tensor.size
            shape = _shapes[rank].unpack_from(record, at)
            at += 8 * rank
            tensors.append(
                Tensor(_name(bytes(record[at : at + length])), code, shape, (place_key, place_offset, place_bytes))
            )
            at += (length + 7) & ~7
        if at + n_parameters != len(record):
            raise BrokenProtocol(f"a call of {len(record)} bytes has {at + n_parameters}")
        parameters = json.loads(bytes(record[at:])) if n_parameters else {}
    except (struct.error, IndexError, ValueError) as error:
        raise BrokenProtocol(f"a call: {error}") from error
    return Call(id, (key, offset, size), rows, deadline, tensors[:n_inputs], tensors[n_inputs:], parameters)


def files(record: memoryview, count: int) -> list[tuple[int, int, bool]]:
    """FILES: key, size and whether it may be written, for each."""
    if len(record) != _header.size + count * _file.size:
        raise BrokenProtocol(f"{count} files in {len(record)} bytes")
    found = [_file.unpack_from(record, _header.size + i * _file.size) for i in range(count)]
    return [(key, size, writable != 0) for key, size, writable, _ in found]


def keys(record: memoryview, count: int) -> tuple[int, ...]:
    """FORGET."""
    if len(record) != _header.size + 8 * count:
        raise BrokenProtocol(f"{count} keys in {len(record)} bytes")
    return struct.unpack_from(f"<{count}Q", record, _header.size)


def region(record: memoryview) -> Place:
    """REGION."""
    if len(record) != _header.size + _region.size:
        raise BrokenProtocol(f"a region in {len(record)} bytes")
    return _region.unpack_from(record, _header.size)


_padded: dict[str, tuple[int, bytes]] = {}


def tensor(name: str, code: int, shape: tuple[int, ...], place: Place) -> bytes:
    """A tensor of RESULT."""
    known = _padded.get(name)
    if known is None:
        if len(_padded) > 1000:
            _padded.clear()
        encoded = name.encode("utf-8", "surrogateescape")
        known = _padded[name] = len(encoded), encoded + bytes(-len(encoded) % 8)
    length, padded = known
    rank = len(shape)
    return _tensor.pack(*place, code, rank, length, 0) + _shapes[rank].pack(*shape) + padded


def result(id: int, last: bool, tensors: list[bytes]) -> bytes:
    return _header.pack(RESULT, LAST if last else 0, len(tensors), id) + b"".join(tensors)


def fail(id: int, code: int, text: str) -> bytes:
    return _header.pack(FAIL, 0, code, id) + text.encode("utf-8", "replace")[:4096]


def room(id: int, size: int) -> bytes:
    return _room.pack(ROOM, 0, 0, id, size)


def log(level: int, text: str) -> bytes:
    return _header.pack(LOG, 0, level, 0) + text.encode("utf-8", "replace")[: MAX_RECORD - 1024]


def hello(said: dict[str, Any]) -> bytes:
    text = json.dumps(said).encode()
    if len(text) > MAX_RECORD - 1024:
        text = json.dumps({"error": f"what the model takes and gives has {len(text)} bytes, as JSON"}).encode()
    return _header.pack(HELLO, 0, 0, 0) + text
