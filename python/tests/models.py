# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The models of the mounted tests, written with numpy alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

SMALL, ARCHIVE, QUANTS = "small", "archive", "quants"


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "layer.weight": random.standard_normal((64, 48)).astype(np.float32),
        "layer.bias": random.standard_normal(64).astype(np.float32),
        "half": random.standard_normal((3, 5, 7)).astype(np.float16),
        "steps": np.arange(10, dtype=np.int64),
        "scalar": np.array(2.5),
        "flags": np.array([True, False, True]),
        "empty": np.empty((0, 4), np.float32),
        "layers/0": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "layers/0/deep": np.ones(2, np.float32),
    }


BF16 = np.array([1.0, -2.0, 0.5], np.float32)


def write(folder: Path) -> None:
    write_safetensors(folder / SMALL, arrays())
    (folder / ARCHIVE).mkdir()
    np.savez_compressed(folder / ARCHIVE / "weights.npz", first=np.arange(1000.0), second=np.eye(3, dtype=np.float32))
    for name in ("a", "b"):
        (folder / QUANTS).mkdir(exist_ok=True)
        write_safetensors(folder / QUANTS, {"w": np.full(4, ord(name), np.float32)}, f"{name}.safetensors")


_NAMES = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64", "uint8": "U8", "bool": "BOOL"}


def write_safetensors(folder: Path, tensors: dict[str, np.ndarray], file: str = "model.safetensors") -> None:
    folder.mkdir(exist_ok=True)
    items = [(name, _NAMES[a.dtype.name], a.shape, a.tobytes()) for name, a in tensors.items()]
    items.append(("bf16", "BF16", BF16.shape, (BF16.view(np.uint32) >> 16).astype(np.uint16).tobytes()))
    header, end = {}, 0
    for name, dtype, shape, data in items:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64 + 56)
    whole = len(text).to_bytes(8, "little") + text + b"".join(data for *_, data in items)
    temporary = folder / ".new"
    temporary.write_bytes(whole)
    temporary.rename(folder / file)
