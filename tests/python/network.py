# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""One small network, saved by its frameworks in each format. Only tests that need
torch import this."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import converted
import flatbuffers
import huggingface_hub
import numpy as np
import onnx
import safetensors.torch
import tflite
import torch
from torch import nn


class Network(nn.Module):
    """Every number of dimensions from 0 to 4, three types, a tied weight, and one that lies column by column."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.convolution = nn.Conv2d(1, 3, (2, 3))
        self.blocks = nn.ModuleList([nn.Conv1d(6, 4, 3), nn.Sequential(nn.BatchNorm1d(4), nn.ReLU())])
        self.turned = nn.Parameter(torch.randn(4, 6).t())
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("halves", torch.randn(5).half())

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x.transpose(1, 2)).transpose(1, 2) if x.shape[-1] == 6 else block(x)
        return self.head(x @ self.turned.t())


def make() -> Network:
    """The same one each time."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Network().eval()


def state() -> dict[str, torch.Tensor]:
    return make().state_dict()


def arrays() -> dict[str, np.ndarray]:
    """What a conversion for NumPy does: row-major arrays, one for each name."""
    return {name: np.ascontiguousarray(tensor.numpy()).reshape(tensor.shape) for name, tensor in state().items()}


def write(name: str, file: Path) -> None:
    """Saves it in the format that a model's name says; file is the weight file in the model's folder."""
    WRITERS[name](file)


def write_safetensors(file: Path) -> None:
    """It takes neither tensors that share memory nor such as are not contiguous."""
    safetensors.torch.save_file({n: t.clone(memory_format=torch.contiguous_format) for n, t in state().items()}, file)


def write_shards(file: Path) -> None:
    """As transformers wrote them; a tied weight goes into one shard under all its names."""
    tensors = state()
    split = huggingface_hub.split_torch_state_dict_into_shards(
        tensors, filename_pattern="pytorch_model{suffix}.bin", max_shard_size=300
    )
    assert split.is_sharded
    placed = dict(split.tensor_to_filename)
    placed |= {tied: placed[of] for tied, of in (("head.weight", "embedding.weight"),) if tied not in placed}
    for shard in set(placed.values()):
        torch.save({n: t for n, t in tensors.items() if placed[n] == shard}, file.parent / shard)
    listed = {"metadata": split.metadata, "weight_map": placed}
    (file.parent / "pytorch_model.bin.index.json").write_text(json.dumps(listed))


def write_script(file: Path) -> None:
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # that it is deprecated
        torch.jit.save(torch.jit.script(make()), file)


def write_onnx_typed(file: Path) -> None:
    """The numbers in fields of their types, not as bytes."""
    converted.save_onnx(
        [
            onnx.helper.make_tensor(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape, a.ravel())
            for n, a in arrays().items()
        ],
        file,
    )


def write_onnx(file: Path) -> None:
    converted.save_onnx([onnx.numpy_helper.from_array(a, n) for n, a in arrays().items()], file)


def write_onnx_external(file: Path) -> None:
    """All bytes in a file beside the model."""
    write_onnx(file)
    onnx.save(onnx.load(file), file, save_as_external_data=True, location="model.onnx.data", size_threshold=0)


TFLITE_TYPES = {
    "float32": tflite.TensorType.FLOAT32,
    "float16": tflite.TensorType.FLOAT16,
    "int64": tflite.TensorType.INT64,
}


def write_tflite(file: Path) -> None:
    """By the schema's own builders: TensorFlow's converter, which calls them, is 2 GB."""
    builder = flatbuffers.Builder()
    buffers, tensors = [_tflite_buffer(builder, None)], []
    for name, array in arrays().items():
        text = builder.CreateString(name)
        shape = builder.CreateNumpyVector(np.array(array.shape, np.int32))
        tflite.TensorStart(builder)
        tflite.TensorAddShape(builder, shape)
        tflite.TensorAddType(builder, TFLITE_TYPES[array.dtype.name])
        tflite.TensorAddBuffer(builder, len(buffers))
        tflite.TensorAddName(builder, text)
        tensors.append(tflite.TensorEnd(builder))
        buffers.append(_tflite_buffer(builder, array))
    listed = _vector(builder, tflite.SubGraphStartTensorsVector, tensors)
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, listed)
    graphs = _vector(builder, tflite.ModelStartSubgraphsVector, [tflite.SubGraphEnd(builder)])
    data = _vector(builder, tflite.ModelStartBuffersVector, buffers)
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddSubgraphs(builder, graphs)
    tflite.ModelAddBuffers(builder, data)
    builder.Finish(tflite.ModelEnd(builder), b"TFL3")
    file.write_bytes(builder.Output())


def _tflite_buffer(builder: flatbuffers.Builder, array: np.ndarray | None) -> int:
    """The first of all buffers is an empty one."""
    data = None if array is None else builder.CreateNumpyVector(np.frombuffer(array.tobytes(), np.uint8))
    tflite.BufferStart(builder)
    if data is not None:
        tflite.BufferAddData(builder, data)
    return tflite.BufferEnd(builder)


def _vector(builder: flatbuffers.Builder, start: Callable[[flatbuffers.Builder, int], int], items: list[int]) -> int:
    start(builder, len(items))
    for item in reversed(items):
        builder.PrependUOffsetTRelative(item)
    return builder.EndVector()


WRITERS: dict[str, Callable[[Path], object]] = {
    "safetensors": write_safetensors,
    "state-dict": lambda file: torch.save(state(), file),
    "module": lambda file: torch.save(make(), file),
    "legacy": lambda file: torch.save(state(), file, _use_new_zipfile_serialization=False),
    "shards": write_shards,
    "script": write_script,
    "onnx": write_onnx,
    "onnx-typed": write_onnx_typed,
    "onnx-external": write_onnx_external,
    "gguf": lambda file: converted.save_gguf(arrays(), file),
    "npz": lambda file: np.savez(file, **arrays()),
    "npz-compressed": lambda file: np.savez_compressed(file, **arrays()),
    "tflite": write_tflite,
}
