# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays over the memory of a call's inputs, and outputs into the memory that the server gave for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelfs.worker import ResourceExhausted, records, tensors
from modelfs.worker.channel import Channel
from modelfs.worker.finding import Declared, Handler
from modelfs.worker.records import Call, Place
from modelfs.worker.tensors import BF16, BYTES, DTYPES, Array, Inputs

ALIGNMENT = 64  # of each output: what vector instructions and other libraries like


class WrongResult(Exception):
    """infer returned what it may not: the text says what."""


@dataclass(slots=True)
class Output:
    """One that is to be written: its elements, or for BYTES the bytes that they become."""

    name: str
    code: int
    shape: tuple[int, ...]
    size: int
    source: Array | bytes
    place: Place | None  # where it was asked to lie; None: in the region


def inputs(channel: Channel, call: Call) -> dict[str, Any]:
    """The inputs by name, without a copy."""
    late = any(t.code == BYTES for t in call.inputs)
    found: dict[str, Any] = Inputs() if late else {}
    for t in call.inputs:
        place = t.place
        if t.code == BYTES:
            memory = channel.memory(place)[place[1] : place[1] + place[2]] if place[2] else np.empty(0, np.uint8)
            found.later(t.name, memory, t.shape)  # type: ignore[attr-defined] # it is an Inputs
        elif place[2]:
            if t.code == BF16:
                tensors.use_bfloat16()
            found[t.name] = np.ndarray(t.shape, DTYPES[t.code], channel.memory(place), place[1])
        else:
            found[t.name] = np.empty(t.shape, DTYPES[t.code])
    return found


class Results:
    """Checks what infer returned against what the model gives and the call asks for."""

    def __init__(self, handler: Handler, channel: Channel) -> None:
        self._declared: dict[str, Declared] = {declared[0]: declared for declared in handler.outputs}
        self._exact = handler.exact
        self._fitting: dict[str, tuple[int, ...]] = {}  # by output, the shape that was found to fit last
        self._channel = channel

    def outputs(self, call: Call, result: object) -> list[Output]:
        """What is to be written."""
        if not isinstance(result, dict):
            raise WrongResult(f"infer returned {_what(result)}, not a dict of arrays by name")
        if call.outputs:
            found = []
            for asked in call.outputs:
                if asked.name not in result:
                    there = ", ".join(map(str, result)) or "nothing"
                    raise WrongResult(f"infer returned no {asked.name!r}, which was asked for, but {there}")
                place = asked.place if asked.place[0] else None
                found.append(self._output(asked.name, result[asked.name], call.rows, place))
            return found
        for name in self._declared:
            if name not in result:
                raise WrongResult(f"infer returned no {name!r}, but {', '.join(map(str, result)) or 'nothing'}")
        return [self._output(name, value, call.rows, None) for name, value in result.items()]

    def _output(self, name: object, value: object, rows: int, place: Place | None) -> Output:
        if not isinstance(name, str) or not 0 < len(name.encode("utf-8", "surrogateescape")) <= records.MAX_NAME:
            raise WrongResult(f"infer returned an output of the name {name!r:.100}")
        declared = self._declared.get(name)
        want = declared[1] if declared is not None else 0
        if type(value) is np.ndarray:
            array, code = value, tensors.code_of_dtype(value.dtype)
        elif (of_torch := tensors.of_torch(value)) is not None:
            array, code = of_torch
        else:
            array, code = _array(name, value, want)
        if code != want and want:
            if want == BF16 and array.dtype == np.uint16:
                code = BF16
            else:
                raise WrongResult(
                    f"output {name!r} is {_datatype(array, code)}, and the model says {tensors.NAMES[want - 1]}"
                )
        if code == 0:
            raise WrongResult(f"output {name!r} is an array of {array.dtype}, which no datatype of the protocol is")
        shape = array.shape
        if len(shape) > records.MAX_RANK:
            raise WrongResult(f"output {name!r} has {len(shape)} dimensions, at most {records.MAX_RANK} are possible")
        if rows and (not shape or shape[0] != rows):
            raise WrongResult(f"output {name!r} of a batch of {rows} rows has shape {list(shape)}")
        if declared is not None and shape != self._fitting.get(name) and self._exact:
            if not _fits(shape[1:] if rows else shape, declared[2]):
                says = [-1, *declared[2]] if rows else list(declared[2])
                raise WrongResult(f"output {name!r} has shape {list(shape)}, and the model says {says} (-1: any)")
            self._fitting[name] = shape
        if code == BYTES:
            encoded = tensors.encode_bytes(array)
            return Output(name, code, shape, len(encoded), encoded, place)
        return Output(name, code, shape, math.prod(shape) * DTYPES[code].itemsize, array, place)

    def room(self, call: Call, outputs: list[Output]) -> int:
        """The bytes that the outputs need beyond the call's region; 0 if they fit."""
        _, offset, size = call.region
        end = offset
        for output in outputs:
            if output.place is None and output.size:
                end = (end + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT + output.size
        need = end - offset
        # A region may begin anywhere: room is asked for what is needed whichever way it begins.
        return 0 if need <= size else need + ALIGNMENT

    def write(self, call: Call, outputs: list[Output], last: bool) -> bytes:
        """Puts the outputs where they belong, and returns the record that says so."""
        key, at, size = call.region
        end = at + size
        written = []
        for output in outputs:
            place = output.place
            if output.size == 0:
                written.append(records.tensor(output.name, output.code, output.shape, (0, 0, 0)))
                continue
            if place is None:
                at = (at + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
                place = (key, at, output.size)
                at += output.size
                if at > end:
                    raise ResourceExhausted(f"the outputs need more than the {size} bytes that there is room for")
            elif output.size > place[2]:
                raise ResourceExhausted(
                    f"output {output.name!r} has {output.size} bytes, and the place that it is to go to {place[2]}"
                )
            else:
                place = (place[0], place[1], output.size)
            memory = self._channel.writable(place)
            if output.code == BYTES:
                memory[place[1] : place[1] + output.size] = np.frombuffer(output.source, np.uint8)
            else:
                source: Any = output.source
                carrier = DTYPES[output.code] if output.code != BF16 else np.dtype("<u2")
                if output.code == BF16:
                    source = np.ascontiguousarray(source).view(carrier)
                np.ndarray(output.shape, carrier, memory, place[1])[...] = source
            written.append(records.tensor(output.name, output.code, output.shape, place))
        return records.result(call.id, last, written)


def _fits(shape: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    return len(shape) == len(declared) and all(n in (want, -1) for n, want in zip(declared, shape, strict=True))


def _array(name: str, value: object, want: int) -> tuple[Array, int]:
    """What is no array yet: a number, a text, a list."""
    try:
        if want == BYTES or isinstance(value, str | bytes):
            array = np.asarray(value, object)
        elif want and want != BF16 and not hasattr(value, "dtype"):
            array = np.asarray(value, DTYPES[want])
        else:
            array = np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise WrongResult(f"output {name!r} is {_what(value)}, which is no array: {error}") from error
    return array, tensors.code_of_dtype(array.dtype)


def _datatype(array: Array, code: int) -> str:
    return tensors.NAMES[code - 1] if code else str(array.dtype)


def _what(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
