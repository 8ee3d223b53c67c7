# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF012 (handlers are written as in docs/inference.md)
"""Models for servers that are treated badly."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any

import modelfs
import numpy as np

Arrays = dict[str, Any]


class Stamp:
    """Answers a text with its digest and who computed that, after as many milliseconds as it is told."""

    inputs = [("id", "INT64", [1]), ("text", "BYTES", [1]), ("ms", "INT32", [1])]
    outputs = [("id", "INT64", [1]), ("digest", "BYTES", [1]), ("pid", "INT64", [1])]

    def load(self, model: Any) -> None:  # noqa: ANN401
        pass

    def infer(self, inputs: Arrays) -> Arrays:
        time.sleep(int(inputs["ms"][0]) / 1000)
        text = bytes(inputs["text"][0])
        digest = hashlib.sha256(b"%d " % int(inputs["id"][0]) + text).hexdigest().encode()
        return {
            "id": np.array(inputs["id"]),
            "digest": np.array([digest], np.object_),
            "pid": np.array([os.getpid()], np.int64),
        }


class Flood:
    """Answers with as many answers of 256 KiB as it is told."""

    inputs = [("n", "INT32", [1])]
    outputs = [("data", "UINT8", [-1])]
    decoupled = True

    def load(self, model: Any) -> None:  # noqa: ANN401
        pass

    def infer(self, inputs: Arrays) -> Any:  # noqa: ANN401
        for i in range(int(inputs["n"][0])):
            yield {"data": np.full(256 << 10, i % 256, np.uint8)}


class Weights:
    """Has its weights from the mount, and reads all of them: the digest of every tensor."""

    outputs = [("sum", "UINT64", [1]), ("pid", "INT64", [1])]

    def load(self, model: Any) -> None:  # noqa: ANN401
        self.tensors = modelfs.open(model.name)
        self.sum = 0
        for name in self.tensors:
            words = np.asarray(self.tensors[name]).reshape(-1)
            self.sum = (self.sum + int(words[: words.size // 8 * 8].view(np.uint64).sum())) % 2**64

    def infer(self, inputs: Arrays) -> Arrays:
        return {"sum": np.array([self.sum], np.uint64), "pid": np.array([os.getpid()], np.int64)}
