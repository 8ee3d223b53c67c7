# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF012 (handlers are written as in docs/inference.md)
# ruff: noqa: RUF012 (handlers are written as in docs/inference.md)
"""What `modelfs serve` is measured with: handlers that are as small as those of the peers, and MiniLM."""

from typing import Any

import numpy as np

Arrays = dict[str, Any]


class Sum:
    """One byte of every 4 KiB."""

    inputs = [("x", "UINT8", [-1])]
    outputs = [("out", "INT64", [1])]

    def infer(self, inputs: Arrays) -> Arrays:
        return {"out": np.array([inputs["x"][::4096].sum()], np.int64)}


class Rows:
    """The same of each row of a batch."""

    inputs = [("x", "UINT8", [-1])]
    outputs = [("out", "INT64", [1])]
    max_batch = 32

    def infer(self, inputs: Arrays) -> Arrays:
        return {"out": inputs["x"][:, ::4096].sum(axis=1, dtype=np.int64, keepdims=True)}


class MiniLM:
    """Embeddings of token numbers: the shape of all-MiniLM-L6-v2, its weights in the mount."""

    inputs = [("ids", "INT64", [-1])]
    outputs = [("embedding", "FP32", [384])]
    max_batch = 32

    def load(self, model: Any) -> None:  # noqa: ANN401 - a modelfs.Model
        import torch
        from serving_minilm import minilm

        torch.set_grad_enabled(False)
        torch.set_num_threads(1)  # more of them wait for each other where callers need a processor, too
        self.net = minilm()
        self.net.load_state_dict(model.state_dict(), assign=True, strict=False)
        self.net.eval()

    def infer(self, inputs: Arrays) -> Arrays:
        import torch

        hidden = self.net(torch.from_numpy(inputs["ids"].copy())).last_hidden_state
        return {"embedding": torch.nn.functional.normalize(hidden.mean(1), dim=1)}
