# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""A safetensors file as other frameworks save its tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import onnx
from safetensors.numpy import load_file


@dataclass(frozen=True)
class Form:
    """One way to save it."""

    file: str
    save: Callable[[Path, Path], None]  # from the safetensors file


def torch_zip(weights: Path, file: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(weights), file)


def torch_legacy(weights: Path, file: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(weights), file, _use_new_zipfile_serialization=False)


def npz(weights: Path, file: Path) -> None:
    np.savez(file, **load_file(weights))


def npz_compressed(weights: Path, file: Path) -> None:
    np.savez_compressed(file, **load_file(weights))


def onnx_raw(weights: Path, file: Path) -> None:
    save_onnx([onnx.numpy_helper.from_array(array, name) for name, array in load_file(weights).items()], file)


def save_onnx(initializers: list[onnx.TensorProto], file: Path) -> None:
    """A model without operators: what is asked of it are its initializers."""
    graph = onnx.helper.make_graph([], "graph", [], [], initializer=initializers)
    onnx.save(onnx.helper.make_model(graph), file)


def as_gguf(weights: Path, file: Path) -> None:
    save_gguf(load_file(weights), file)


def save_gguf(arrays: dict[str, np.ndarray], file: Path) -> None:
    writer = gguf.GGUFWriter(file, "bert")
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


FORMS = {
    "torch-zip": Form("pytorch_model.bin", torch_zip),
    "torch-legacy": Form("model.pth", torch_legacy),
    "npz": Form("model.npz", npz),
    "npz-compressed": Form("model.npz", npz_compressed),
    "onnx": Form("model.onnx", onnx_raw),
    "gguf": Form("model.gguf", as_gguf),
}
