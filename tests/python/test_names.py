# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""A name is one tensor of one file, whatever it is. The empty one is allowed in every format
that names tensors: its file is not the weight file."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import onnx
import pytest
import safetensors.numpy
from mounts import Mount, eventually

ARRAYS = {"": np.arange(2, dtype=np.float32), "w": np.arange(100_000, dtype=np.float32)}


def write_gguf(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    for name, array in ARRAYS.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_onnx(path: Path) -> None:
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in ARRAYS.items()]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], initializers)), path)


def write_torch(path: Path) -> None:
    import torch

    torch.save({name: torch.from_numpy(array) for name, array in ARRAYS.items()}, path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "safetensors": lambda path: safetensors.numpy.save_file(ARRAYS, path),
    "gguf": write_gguf,
    "onnx": write_onnx,
    "npz": lambda path: np.savez(path, **ARRAYS),
    "pt": write_torch,
}
FORMATS = [pytest.param(f, marks=[pytest.mark.torch] if f == "pt" else []) for f in WRITERS]


@pytest.mark.parametrize("first", ["file", "tensor"])
@pytest.mark.parametrize("kind", FORMATS)
def test_empty_name(mount_anew: Callable[[Path], Mount], tmp_path: Path, kind: str, first: str) -> None:
    on_disk = tmp_path / "m" / f"model.{kind}"
    on_disk.parent.mkdir()
    WRITERS[kind](on_disk)
    mount = mount_anew(tmp_path)
    shown = mount.models / "m" / on_disk.name

    def whole() -> None:
        assert shown.read_bytes() == on_disk.read_bytes()
        with shown.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[:] == on_disk.read_bytes()

    def tensor() -> None:
        path = mount.tensors / "m" / "%"
        assert path.read_bytes() == ARRAYS[""].tobytes()
        assert np.array_equal(np.load(f"{path}.npy"), ARRAYS[""])

    for look in (whole, tensor) if first == "file" else (tensor, whole):
        look()


def write_external(path: Path, start: int, count: int) -> None:
    """An ONNX file whose tensor "w" is so many floats of weights.bin beside it."""
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[count])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": "weights.bin", "offset": str(4 * start), "length": str(4 * count)}.items():
        tensor.external_data.add(key=key, value=value)
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [tensor])), path)


def test_one_name_in_one_data_file(mount_anew: Callable[[Path], Mount], tmp_path: Path) -> None:
    """Two files may call different parts of one data file by one name, and one file may change its mind."""
    folder = tmp_path / "m"
    folder.mkdir()
    ARRAYS["w"].tofile(folder / "weights.bin")
    write_external(folder / "a.onnx", 0, 4)
    write_external(folder / "b.onnx", 1024, 2000)
    mount = mount_anew(tmp_path)

    def same(file: str, start: int, count: int) -> bool:
        path, want = mount.tensors / "m" / file / "w", ARRAYS["w"][start : start + count]
        return np.array_equal(np.fromfile(path, np.float32), want) and np.array_equal(np.load(f"{path}.npy"), want)

    assert same("a.onnx", 0, 4)
    assert same("b.onnx", 1024, 2000)
    write_external(folder / "new", 2048, 7)
    (folder / "new").rename(folder / "a.onnx")
    eventually("the new file's tensor is shown", lambda: same("a.onnx", 2048, 7))
    assert same("b.onnx", 1024, 2000)
