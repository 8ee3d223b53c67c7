# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""One call: what of it goes by reference, its request for each attempt, and its result.

Inputs by reference are copied into a region once, or named where they already lie; every attempt reads the same.
Outputs by reference need a region for each attempt, which nobody else writes: gRPC sends the same request
again, so that such a call goes over a connection without gRPC's retries, and is made anew by the client."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np

from modelfs.client_deadline import Deadline
from modelfs.client_errors import InferenceError
from modelfs.client_messages import ModelInferRequest, parameters_of, set_parameters
from modelfs.client_regions import Region, Regions
from modelfs.client_result import Result
from modelfs.client_tensors import Array, Tensor, array_of, array_of_contents, datatype_of
from modelfs.client_wire import Buffer, Request, Response
from modelfs.located import locate
from modelfs.mountpoint import Mount

# From here on a reference is quicker than the bytes.
THRESHOLD = 128 << 10
# A server that answers so to a call with references may answer one without.
_REFUSALS = frozenset(
    ("FAILED_PRECONDITION", "PERMISSION_DENIED", "UNIMPLEMENTED", "NOT_FOUND", "OUT_OF_RANGE", "INVALID_ARGUMENT")
)
# If it does then, it takes none at all, or of another mount, unless it said that bytes are missing.
_NEVER = _REFUSALS - {"OUT_OF_RANGE"}


class References:
    """What a client knows of references: whether it can make any, and how large outputs are."""

    def __init__(self, mode: str | bool, mount: Mount | None) -> None:
        if mode not in ("auto", "always", "never", True, False):
            raise ValueError(f"by_reference is {mode!r}, want 'auto', 'always' or 'never'")
        self.always = mode in ("always", True)
        self.mount = mount
        self.possible = mode not in ("never", False)
        self.wanted = self.possible
        self.fallbacks = 0
        self._lock = threading.Lock()
        self._regions: Regions | None = None
        self._answers: dict[tuple[Any, ...], dict[str, int]] = {}
        self._varying: set[tuple[Any, ...]] = set()

    def regions(self) -> Regions:
        with self._lock:
            if self._regions is None:
                if self.mount is None:
                    raise OSError(errno.ENODEV, "there is no mount")
                self._regions = Regions(self.mount)
            return self._regions

    def fall_back(self) -> None:
        with self._lock:
            self.fallbacks += 1

    def sizes(self, key: tuple[Any, ...]) -> dict[str, int]:
        """The bytes of all outputs of such a call when it was last answered; empty if that is not known."""
        return self._answers.get(key, {})

    def learn(self, key: tuple[Any, ...], sizes: dict[str, int], varies: bool = False) -> None:
        """Notes what such a call was answered with; varies: that is worth nothing for the next one."""
        with self._lock:
            if len(self._answers) >= 1024:  # shapes that change with every call
                self._answers.clear()
                self._varying.clear()
            if varies:
                self._varying.add(key)
            self._answers[key] = {} if key in self._varying else sizes

    def close(self) -> None:
        with self._lock:
            if self._regions is not None:
                self._regions.close()
                self._regions = None
            self.possible = False


class Attempt:
    """One request on its way."""

    def __init__(self, call: Call, request: Request, regions: dict[str, Region]) -> None:
        self.call, self.request, self.regions = call, request, regions
        self.had_regions = bool(regions)

    @property
    def once(self) -> bool:
        """Whether it may be sent once only."""
        return self.had_regions or self.call.to_files

    def end(self) -> None:
        """It failed: nobody knows who is still writing there."""
        for region in self.regions.values():
            region.remove()
        self.regions = {}


class Call:
    """One call, from its arguments to its result. It is entered while it runs, and then gives back what it has."""

    def __init__(
        self,
        references: References,
        model: str,
        inputs: Mapping[str, Any],
        outputs: Iterable[str] | Mapping[str, Array | None] | None,
        parameters: Mapping[str, Any] | None,
        priority: int | None,
        deadline: Deadline,
        id: str = "",
        streamed: bool = False,
    ) -> None:
        self.references, self.model, self.deadline = references, model, deadline
        timeout = None if streamed else deadline.left()
        self.tensors = {name: Tensor(name, value) for name, value in inputs.items()}
        self.names = tuple(outputs) if outputs is not None else None
        self.key = (model, self.names, *((t.datatype, t.shape) for t in self.tensors.values()))
        self.files: dict[str, tuple[str, Array]] = {}
        if isinstance(outputs, Mapping):
            self._place(outputs)
        self.values = dict(parameters or {})
        if priority is not None:
            self.values["priority"] = priority
        if timeout is not None:
            self.values["timeout"] = _sooner(self.values.get("timeout"), max(int(timeout * 1e6), 1))
        self.id, self.streamed = id, streamed
        self.inline = not references.possible
        self._fell_back = False
        if self.inline and references.wanted and any(t.nbytes >= THRESHOLD for t in self.tensors.values()):
            self._fall_back()
        self.refusal: InferenceError | None = None  # of the references that it had
        self.answered = False
        self._sent: list[Region] = []  # of inputs
        self._head: Any = None
        self._raw: list[Buffer] = []
        self.referring = False

    def __enter__(self) -> Call:  # noqa: PYI034 - Self is Python 3.11's
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back(failed=kind is not None)

    @property
    def to_files(self) -> bool:
        return bool(self.files)

    def attempt(self) -> Attempt:
        """The next request."""
        if self._head is None:
            self._begin()
        message = self._head
        regions: dict[str, Region] = {}
        sizes = {} if self.inline or self.streamed or self.files else self._wanted()
        if sizes or self.files or self.names is not None:
            message = ModelInferRequest()
            message.CopyFrom(self._head)
            for name in self.names if self.names is not None else self.references.sizes(self.key):
                asked = message.outputs.add(name=name)
                if name in self.files:
                    set_parameters(asked.parameters, {"modelfs_path": self.files[name][0]})
                elif name in sizes:
                    with self._fallen():
                        region = self.references.regions().take(sizes[name])
                        regions[name] = region
                        where = {"modelfs_path": region.path, "modelfs_byte_size": sizes[name]}
                        set_parameters(asked.parameters, where)
        self.referring = bool(regions) or bool(self.files) or bool(self._sent) or len(self._raw) < len(self.tensors)
        return Attempt(self, Request(message, self._raw), regions)

    def refused(self, attempt: Attempt, error: InferenceError) -> bool:
        """Whether the call is to be made again, without references."""
        too_small = attempt.had_regions and error.code == "RESOURCE_EXHAUSTED"
        refusal = too_small or (self.referring and error.code in _REFUSALS)
        if not refusal or self.answered or self.files or self.references.always:
            return False
        self.references.learn(self.key, {}, varies=too_small)
        self._give_back(failed=True)
        self._head, self.inline = None, True
        self.refusal = error
        return True

    def result(self, attempt: Attempt, response: Response) -> Result:
        """The result of an attempt that was answered."""
        message, raw = response.message, response.raw
        arrays: dict[str, Array] = {}
        sizes: dict[str, int] = {}
        try:
            for i, out in enumerate(message.outputs):
                name = out.name
                region = attempt.regions.get(name)
                if region is not None and out.parameters["modelfs_path"].string_param == region.path:
                    nbytes = out.parameters["modelfs_byte_size"].int64_param
                    del attempt.regions[name]
                    data = self.references.regions().view(region, nbytes)
                    arrays[name] = array_of(out.datatype, out.shape, data)
                    sizes[name] = nbytes
                elif name in self.files and "modelfs_path" in out.parameters:
                    arrays[name] = _placed(name, out, self.files[name][1])
                elif i < len(raw):
                    arrays[name] = array_of(out.datatype, out.shape, raw[i])
                    sizes[name] = len(raw[i])
                else:
                    arrays[name] = array_of_contents(out.datatype, out.shape, out.contents)
        except ValueError as error:
            raise InferenceError("INTERNAL", f"{self.model} answered what makes no sense: {error}") from None
        finally:
            for region in attempt.regions.values():  # nothing came there
                region.remove()
        if self.refusal is not None:
            self._fall_back()
            if self.refusal.code in _NEVER:
                self.references.possible = False
        elif not self.streamed and not self.inline:
            self.references.learn(self.key, sizes)
        self.answered = True
        return Result(arrays, message.model_name, message.model_version, message.id, parameters_of(message.parameters))

    def _give_back(self, *, failed: bool) -> None:
        """The call is over: its inputs' regions are free, unless somebody may still read them."""
        for region in self._sent:
            if failed:
                region.remove()
            else:
                self.references.regions().give(region)
        self._sent = []

    def _begin(self) -> None:
        """What is the same for all attempts."""
        message = ModelInferRequest(model_name=self.model, id=self.id)
        set_parameters(message.parameters, self.values)
        self._raw = []
        for name, tensor in self.tensors.items():
            described = message.inputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
            where = None if self.inline else self._refer(tensor)
            if where is None:
                self._raw.append(tensor.data)
            else:
                set_parameters(described.parameters, where)
        self._head = message

    def _refer(self, tensor: Tensor) -> dict[str, Any] | None:
        if tensor.array is not None and self.references.mount is not None:
            path = self._below(locate(tensor.array))
            if path is not None:
                return {"modelfs_path": path}
        if tensor.nbytes < (1 if self.references.always else THRESHOLD):
            return None
        with self._fallen():
            region = self.references.regions().take(tensor.nbytes)
            self._sent.append(region)
            region.memory[: tensor.nbytes] = np.frombuffer(tensor.data, np.uint8)
            return {"modelfs_path": region.path, "modelfs_byte_size": tensor.nbytes}
        return None

    def _below(self, path: str | None) -> str | None:
        """A file's path below the mount."""
        if path is None or self.references.mount is None:
            return None
        point = self.references.mount.point
        # As it is spelled there, if it is: relpath costs as much as all else here.
        below = path[len(point) + 1 :] if path.startswith(point + "/") else os.path.relpath(path, point)
        return below if below.startswith(("sessions/", "tensors/")) else None

    def _place(self, outputs: Mapping[str, Array | None]) -> None:
        for name, array in outputs.items():
            if array is None:
                continue
            path = self._below(locate(array)) if isinstance(array, np.ndarray) else None
            if path is None or not self.references.possible:
                raise ValueError(f"output {name!r} can go to an array of a session of the client's mount only")
            self.files[name] = (path, array)

    def _wanted(self) -> dict[str, int]:
        """The outputs that go by reference, and how large they are."""
        least = 1 if self.references.always else THRESHOLD
        return {name: size for name, size in self.references.sizes(self.key).items() if size >= least}

    @contextlib.contextmanager
    def _fallen(self) -> Iterator[None]:
        """Without room for a region the bytes go inline."""
        try:
            yield
        except OSError:
            if self.references.always:
                raise
            self._fall_back()

    def _fall_back(self) -> None:
        """Counts the call, once."""
        if not self._fell_back:
            self._fell_back = True
            self.references.fall_back()


def _sooner(asked: Any, ours: int) -> Any:  # noqa: ANN401 - a parameter
    """The parameter timeout, in µs: that of the call, unless the caller asked for less. 0 is none; of what is no number
    the server says so."""
    return asked if asked and not (isinstance(asked, int) and asked > ours) else ours


def _placed(name: str, out: Any, array: Array) -> Array:  # noqa: ANN401 - a message
    """An output that went to an array of the caller's, in the shape that was answered."""
    shape = tuple(out.shape)
    if out.datatype != datatype_of(array.dtype) or math.prod(shape) > array.size:
        raise InferenceError(
            "INVALID_ARGUMENT",
            f"output {name!r} is {out.datatype} of {shape}: it went to an array of {array.dtype} of {array.shape}",
        )
    return array if shape == array.shape else array.reshape(-1)[: math.prod(shape)].reshape(shape)
