# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Requests to bytes and responses from them, with a copy less on each side than protobuf makes.

protobuf takes raw contents as bytes objects only, which an array has to be copied to, and copies them again. Here
a tensor is copied once, to where gRPC sends from; and what was received is looked at where it lies."""

from __future__ import annotations

from typing import Any

from modelfs.client_messages import ModelInferResponse, ModelStreamInferResponse

RAW_INPUT, RAW_OUTPUT, INFER_RESPONSE = 7, 6, 2
# Up to here protobuf is quicker than Python that looks for the fields.
SMALL = 32 << 10

Buffer = bytes | memoryview


class Request:
    """A ModelInferRequest and its raw contents."""

    __slots__ = ("message", "raw")

    def __init__(self, message: Any, raw: list[Buffer]) -> None:  # noqa: ANN401 - a class made at run time
        self.message, self.raw = message, raw

    def serialize(self) -> bytes:
        parts: list[Buffer] = [self.message.SerializeToString()]
        for data in self.raw:
            parts += [bytes([RAW_INPUT << 3 | 2]) + _varint(len(data)), data]
        return b"".join(parts)


class Response:
    """A ModelInferResponse and its raw contents."""

    __slots__ = ("message", "raw")

    def __init__(self, message: Any, raw: list[Buffer]) -> None:  # noqa: ANN401 - a class made at run time
        self.message, self.raw = message, raw

    @classmethod
    def parse(cls, data: bytes) -> Response:
        if len(data) > SMALL:
            rest, raw = _split(memoryview(data), RAW_OUTPUT)
            message = ModelInferResponse.FromString(rest)
        else:
            message, raw = ModelInferResponse.FromString(data), []
        return cls(message, raw or list(message.raw_output_contents))

    @classmethod
    def parse_streamed(cls, data: bytes) -> tuple[str, Response | None]:
        """The error message and the response of a ModelStreamInferResponse."""
        if len(data) > SMALL:
            rest, inner = _split(memoryview(data), INFER_RESPONSE)
            if len(inner) == 1:
                head, raw = _split(memoryview(inner[0]), RAW_OUTPUT)
                response = cls(ModelInferResponse.FromString(head), raw)
                return ModelStreamInferResponse.FromString(rest).error_message, response
        message = ModelStreamInferResponse.FromString(data)
        if not message.HasField("infer_response"):
            return message.error_message, None
        response = message.infer_response
        return message.error_message, cls(response, list(response.raw_output_contents))


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a malformed answer: a number has no end")


def _split(data: memoryview, field: int) -> tuple[bytes, list[Buffer]]:
    """The bytes of a field's values, where they lie, and the rest of a message."""
    rest: list[Buffer] = []
    found: list[Buffer] = []
    at = run = 0
    while at < len(data):
        start = at
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            _, at = _read_varint(data, at)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        elif kind == 2:
            size, at = _read_varint(data, at)
            if size > len(data) - at:
                raise ValueError(f"a malformed answer: {size} bytes are announced and {len(data) - at} are there")
            if tag >> 3 == field:
                rest.append(data[run:start])
                found.append(data[at : at + size])
                run = at + size
            at += size
        else:
            raise ValueError(f"a malformed answer: a field of type {kind}")
    if at > len(data):
        raise ValueError("a malformed answer: it ends within a field")
    rest.append(data[run:])
    return b"".join(rest), found
