# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What the formats' own libraries read from a file on disk: that is what the mount must show.

What takes torch is in reference_torch.py."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import onnx
import safetensors
import tflite

# Descriptors in .npy files by index.json's names: NumPy has none of the later ones.
NUMPY = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8", "C128": "<c16",
    "BF16": "<V2", "F8_E4M3": "|V1", "F8_E5M2": "|V1", "F8_E8M0": "|V1", "F8_E4M3FNUZ": "|V1", "F8_E5M2FNUZ": "|V1",
}  # fmt: skip

# And back, as far as NumPy has the type.
NAMES = {np.dtype(descr): dtype for dtype, descr in NUMPY.items() if "V" not in descr}

TFLITE = {tflite.TensorType.FLOAT32: "F32", tflite.TensorType.FLOAT16: "F16", tflite.TensorType.INT64: "I64"}


@dataclass(frozen=True)
class Tensor:
    """One tensor as its library reads it."""

    name: str
    dtype: str  # as index.json calls it
    shape: tuple[int, ...]  # in elements
    npy_shape: tuple[int, ...]  # in a .npy file: the same, but rows of bytes for block types
    data: bytes  # row-major, little-endian
    strides: tuple[int, ...] | None = None  # in the file, in elements; None: it lies there row-major
    made: bool = False  # it lies nowhere as it is: compressed, of the other byte order, written as text

    @property
    def blocks(self) -> bool:
        """Several elements share bytes, so that one alone has no address."""
        return self.dtype not in NUMPY

    @property
    def descr(self) -> str:
        return NUMPY.get(self.dtype, "|u1")


def of_safetensors(*files: Path) -> list[Tensor]:
    """The tensors of a file, or of the shards of a checkpoint."""
    found = []
    for file in files:
        for name, t in safetensors.deserialize(file.read_bytes()):
            shape = tuple(t["shape"])
            packed = t["dtype"] not in NUMPY
            npy_shape = (*shape[:-1], shape[-1] * len(t["data"]) // int(np.prod(shape))) if packed else shape
            found.append(Tensor(name, t["dtype"], shape, npy_shape, bytes(t["data"])))
    return found


def of_gguf(file: Path) -> list[Tensor]:
    """The tensors of a GGUF file, whose library has dimensions innermost first."""
    return [
        Tensor(t.name, t.tensor_type.name, tuple(t.shape.tolist()[::-1]), npy_shape_of(t), t.data.tobytes())
        for t in gguf.GGUFReader(file).tensors
    ]


def npy_shape_of(t: gguf.ReaderTensor) -> tuple[int, ...]:
    """The library shows BF16 as bytes, modelfs as its two bytes a number."""
    shape = tuple(t.data.shape)
    return (*shape[:-1], shape[-1] // 2) if t.tensor_type.name == "BF16" else shape


def of_array(name: str, array: np.ndarray, made: bool = False) -> Tensor:
    """A NumPy array as a file holds it: in NumPy's own order, unless it is made."""
    little = array.dtype.newbyteorder("<")
    made = made or array.dtype != little
    strides = None
    if not (made or array.flags.c_contiguous):
        strides = tuple(n // array.itemsize for n in array.strides)
    return Tensor(name, NAMES[little], array.shape, array.shape, array.astype(little).tobytes(), strides, made)


def of_arrays(**arrays: np.ndarray) -> list[Tensor]:
    """What was given to numpy.save or numpy.savez."""
    return [of_array(n, a) for n, a in arrays.items()]


def of_npy(file: Path) -> list[Tensor]:
    """The array of a file, which has the file's name."""
    return [of_array(file.stem, np.load(file))]


def of_npz(file: Path) -> list[Tensor]:
    """The arrays of numbers: texts and objects are no tensors."""
    with zipfile.ZipFile(file) as archive:
        deflated = {m.filename.removesuffix(".npy") for m in archive.infolist() if m.compress_type}
    with np.load(file, allow_pickle=True) as arrays:
        return [of_array(n, a, n in deflated) for n, a in arrays.items() if a.dtype.newbyteorder("<") in NAMES]


def of_onnx(file: Path) -> list[Tensor]:
    """The tensors of a model, by the paths that loaders/onnx/doc.go gives to those of subgraphs."""
    model, found, deeper = onnx.load(file), {}, []
    for path, tensor in _in_graph(model.graph, ""):
        if "/" in path and path != tensor.name:
            deeper.append((path, tensor))
        else:
            found[path] = tensor
    for path, tensor in deeper:
        name, n = path, 2
        while name in found:
            name, n = f"{path}~{n}", n + 1
        found[name] = tensor
    return [_of_proto(name, t) for name, t in found.items()]


def _in_graph(graph: onnx.GraphProto, prefix: str) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Constants, what subgraphs have, and initializers."""
    for i, node in enumerate(graph.node):
        inside = f"{prefix}{node.name if 0 < len(node.name) <= 200 else f'{node.op_type}#{i}'}/"
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            if node.op_type == "Constant":
                yield prefix + node.output[0], value if attribute.name == "value" else _written(np.array(value))
            elif isinstance(value, onnx.TensorProto):
                yield inside + attribute.name, value
            elif isinstance(value, onnx.GraphProto):
                yield from _in_graph(value, f"{inside}{attribute.name}/")
    for tensor in graph.initializer:
        yield prefix + tensor.name, tensor


def _written(value: np.ndarray) -> onnx.TensorProto:
    """A number or a list of them, which a node has without a tensor around."""
    wide = np.float32 if value.dtype.kind == "f" else np.int64
    return onnx.helper.make_tensor("", onnx.helper.np_dtype_to_tensor_dtype(np.dtype(wide)), value.shape, value.ravel())


def _of_proto(name: str, tensor: onnx.TensorProto) -> Tensor:
    in_place = tensor.HasField("raw_data") or tensor.float_data or tensor.double_data or 0 in tensor.dims
    return of_array(name, onnx.numpy_helper.to_array(tensor), made=not in_place)


def of_tflite(file: Path) -> list[Tensor]:
    """The constants of a model's only graph."""
    model = tflite.Model.GetRootAs(file.read_bytes())
    graph, found = model.Subgraphs(0), []
    for tensor in (graph.Tensors(i) for i in range(graph.TensorsLength())):
        data = model.Buffers(tensor.Buffer())
        if data.DataLength() == 0:
            continue
        shape = () if tensor.ShapeIsNone() else tuple(int(n) for n in tensor.ShapeAsNumpy())
        name, dtype = tensor.Name().decode(), TFLITE[tensor.Type()]
        found.append(Tensor(name, dtype, shape, shape, data.DataAsNumpy().tobytes()))
    return found
