# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF012 (handlers are written as in docs/inference.md)
"""Models that the tests serve."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from modelfs import worker

Arrays = dict[str, Any]


class Sum:
    """One byte of every 4 KiB."""

    inputs = [("data", "UINT8", [-1])]
    outputs = [("sum", "INT64", [1])]

    def load(self, model: Any) -> None:  # noqa: ANN401
        pass

    def infer(self, inputs: Arrays) -> Arrays:
        return {"sum": np.array([inputs["data"][::4096].sum(dtype=np.int64)])}


class Echo:
    """Gives back what it gets, whatever that is."""

    def load(self, model: Any) -> None:  # noqa: ANN401
        pass

    def infer(self, inputs: Arrays) -> Arrays:
        return dict(inputs)


class Scale:
    """A model with batches: each row times its own length, and the batch's size."""

    inputs = [("x", "FP32", [-1])]
    outputs = [("y", "FP32", [-1]), ("batch", "INT32", [1])]
    max_batch = 32

    def load(self, model: Any) -> None:  # noqa: ANN401
        pass

    def infer(self, inputs: Arrays) -> Arrays:
        x = inputs["x"]
        time.sleep(0.005)
        return {"y": x * x.shape[1], "batch": np.full((len(x), 1), len(x), np.int32)}


class Count:
    """Answers a number n with 0 to n - 1, one by one."""

    inputs = [("n", "INT32", [1])]
    outputs = [("i", "INT32", [1])]
    decoupled = True

    def load(self, model: Any) -> None:  # noqa: ANN401
        pass

    def infer(self, inputs: Arrays) -> Iterator[Arrays]:
        for i in range(int(inputs["n"][0])):
            yield {"i": np.array([i], np.int32)}


class Moody:
    """Does what it is told: fails, dies, hangs."""

    inputs = [("what", "BYTES", [1])]
    outputs = [("pid", "INT64", [1])]

    def load(self, model: Any) -> None:  # noqa: ANN401
        pass

    def infer(self, inputs: Arrays) -> Arrays:
        what = inputs["what"][0]
        if what == b"fail":
            raise ValueError("it was told to fail")
        if what == b"die":
            os._exit(3)
        if what == b"hang":
            time.sleep(3600)
        return {"pid": np.array([os.getpid()], np.int64)}


class MoodyStream:
    """Answers once, unless it is told to fail, or to die if there is no such file yet, which it makes."""

    inputs = [("what", "BYTES", [1]), ("file", "BYTES", [1])]
    outputs = [("pid", "INT64", [1])]
    decoupled = True

    def load(self, model: Any) -> None:  # noqa: ANN401
        pass

    def infer(self, inputs: Arrays) -> Iterator[Arrays]:
        what, file = inputs["what"][0], inputs["file"][0]
        if what == b"fail":
            raise worker.InvalidArgument("it was told to fail")
        if what == b"die" and not os.path.exists(file):
            os.close(os.open(file, os.O_CREAT))
            os._exit(3)
        yield {"pid": np.array([os.getpid()], np.int64)}
