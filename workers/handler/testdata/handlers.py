# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ANN001, ANN201, ANN204, ASYNC251, RUF012 (handlers are written as users write them)
"""Handlers of all kinds, good and bad ones, for the tests of workers/handler."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time

import numpy as np
from modelfs import worker


class Echo:
    """What comes in goes out."""

    def infer(self, inputs):
        return dict(inputs)


class Batches:
    inputs = [("x", "FP32", [4])]
    outputs = [("y", "FP32", [4]), ("rows", "INT32", [])]
    max_batch = 16

    def infer(self, inputs):
        x = inputs["x"]
        return {"y": x * 2, "rows": np.full(len(x), len(x), np.int32)}


class Told:
    """Does what its input or its parameters say."""

    def infer(self, inputs, parameters):
        return getattr(self, parameters["do"])(inputs, parameters)

    def sleep(self, inputs, parameters):
        time.sleep(parameters["seconds"])
        return dict(inputs)

    def begin(self, inputs, parameters):
        """Says by a file that it has begun."""
        with open(parameters["path"], "x"):
            time.sleep(parameters["seconds"])
        return {}

    def exit(self, inputs, parameters):
        print("going down", file=sys.stderr, flush=True)
        os._exit(3)

    def kill(self, inputs, parameters):
        os.kill(os.getpid(), signal.SIGKILL)

    def crash(self, inputs, parameters):
        ctypes.string_at(0)

    def stop(self, inputs, parameters):
        os.kill(os.getpid(), signal.SIGSTOP)

    def leak(self, inputs, parameters):
        self.kept = np.ones(parameters["bytes"], np.uint8)
        time.sleep(60)

    def fail(self, inputs, parameters):
        raise ValueError("not\nwhat I like")

    def refuse(self, inputs, parameters):
        raise worker.InvalidArgument("x has to be positive")

    def huge(self, inputs, parameters):
        return {"y": np.full(parameters["bytes"], 7, np.uint8)}

    def strided(self, inputs, parameters):
        x = inputs["x"]
        return {"transposed": x.T, "every_other": x[:, ::2], "backwards": x[::-1], "big": x.astype(">f4")}

    def write(self, inputs, parameters):
        inputs["x"][...] = 0
        return {}

    def text(self, inputs, parameters):
        return {"upper": np.array([e.upper() for e in inputs["t"].ravel()], object).reshape(inputs["t"].shape)}

    def nothing(self, inputs, parameters):
        return None

    def number(self, inputs, parameters):
        return {"pid": np.int64(os.getpid())}

    def memory(self, inputs, parameters):
        """Whether a file is mapped, by the end of its name."""
        with open("/proc/self/maps") as maps:
            return {"mapped": np.array([parameters["name"] in maps.read()])}

    def garbage(self, inputs, parameters):
        os.write(3, bytes.fromhex(parameters["hex"]))
        time.sleep(60)

    def close(self, inputs=None, parameters=None):
        if inputs is not None:
            os.close(3)
            time.sleep(60)


class Patient:
    """Waits until nobody waits for it."""

    def infer(self, inputs):
        before = time.monotonic()
        while not worker.cancelled():
            assert time.monotonic() - before < 60
            time.sleep(0.001)
        return dict(inputs)


class Threads:
    concurrency = 4

    def __init__(self):
        self.running = 0

    def infer(self, inputs):
        self.running += 1
        before = time.monotonic()
        while self.running % 4 and time.monotonic() - before < 30:  # all four are here
            time.sleep(0.001)
        return {"y": np.resize(inputs["x"], 1 << 20)}


class Asynchronous:
    concurrency = 4

    def load(self, model):
        self.running = 0

    async def infer(self, inputs):
        self.running += 1
        before = time.monotonic()
        while self.running % 4 and time.monotonic() - before < 30:
            await asyncio.sleep(0.001)
        return {"y": np.resize(inputs["x"], 1 << 20)}


class Forever:
    concurrency = 2

    async def infer(self, inputs):
        await asyncio.sleep(3600)


class Blocking:
    """Keeps its event loop from all else for as long as it is told."""

    concurrency = 2

    async def infer(self, inputs, parameters):
        time.sleep(parameters["seconds"])
        return {}


class Counting:
    """A stream."""

    def infer(self, inputs):
        for i in range(int(inputs["n"])):
            yield {"i": np.array([i] * (i + 1), np.int32)}


class CountingAsync:
    async def infer(self, inputs):
        for i in range(int(inputs["n"])):
            await asyncio.sleep(0)
            yield {"i": np.array([i] * (i + 1), np.int32)}


class Endless:
    def infer(self, inputs):
        i = 0
        while True:
            yield {"i": np.array([i], np.int32)}
            i += 1


class Half:
    def infer(self, inputs):
        yield {"i": np.array([1], np.int32)}
        raise ValueError("half way")


class Slow:
    """Takes its time to load."""

    def load(self, model):
        time.sleep(60)

    def infer(self, inputs):
        return {}


class Needs:
    def load(self, model):
        import a_package_that_nobody_has  # noqa: F401

    def infer(self, inputs):
        return {}


class Refuses:
    def load(self, model):
        raise RuntimeError(f"{model} is not for me")

    def infer(self, inputs):
        return {}


class Stubborn:
    """Ends by nothing but SIGKILL."""

    def load(self, model):
        self.held = None

    def infer(self, inputs):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)
