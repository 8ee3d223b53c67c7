"""What the formats' own libraries take to say what tensors a file has: `headers.py FORMAT …`.

`--version` says what would be measured, `--write N FILE` has the library write a file of N
tensors, and a path measures. A format whose library is not there is an ImportError.
"""

import importlib
import importlib.metadata
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Shapes = Iterable[tuple[int, ...]]
SHAPE = (4, 5)


@dataclass(frozen=True)
class Format:
    package: str
    call: str
    write: Callable[[list[str], str], None]
    shapes: Callable[[str], Shapes]  # of all tensors, in memory when it returns


def array() -> object:
    import numpy

    return numpy.zeros(SHAPE, numpy.float32)


def write_safetensors(names: list[str], path: str) -> None:
    from safetensors.numpy import save_file

    save_file(dict.fromkeys(names, array()), path)


def safetensors_shapes(path: str) -> Shapes:
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        return [tuple(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118 - it is no dict


def write_gguf(names: list[str], path: str) -> None:
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    for name in names:
        writer.add_tensor(name, array())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_shapes(path: str) -> Shapes:
    import gguf

    return [tensor.shape for tensor in gguf.GGUFReader(path).tensors]


def write_torch(names: list[str], path: str) -> None:
    import torch

    torch.save({name: torch.zeros(SHAPE) for name in names}, path)


def torch_shapes(path: str) -> Shapes:
    import torch

    return [tensor.shape for tensor in torch.load(path, weights_only=True).values()]


def torch_mapped_shapes(path: str) -> Shapes:
    import torch

    return [tensor.shape for tensor in torch.load(path, weights_only=True, mmap=True).values()]


def write_onnx(names: list[str], path: str) -> None:
    import onnx

    tensors = [onnx.numpy_helper.from_array(array(), name) for name in names]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "graph", [], [], tensors)), path)


def onnx_shapes(path: str) -> Shapes:
    import onnx

    return [tensor.dims for tensor in onnx.load(path, load_external_data=False).graph.initializer]


def write_npz(names: list[str], path: str) -> None:
    import numpy

    numpy.savez(path, **dict.fromkeys(names, array()))


def write_npz_compressed(names: list[str], path: str) -> None:
    import numpy

    numpy.savez_compressed(path, **dict.fromkeys(names, array()))


def npz_shapes(path: str) -> Shapes:
    """numpy.load lists the archive; it has no call for a member's header alone, but the parts of one."""
    import numpy
    from numpy.lib import format as npy

    with numpy.load(path) as file:
        found = []
        for name in file.zip.namelist():
            with file.zip.open(name) as member:
                npy.read_magic(member)
                found.append(npy.read_array_header_1_0(member)[0])
        return found


FORMATS = {
    "safetensors": Format("safetensors", "safe_open and get_slice", write_safetensors, safetensors_shapes),
    "gguf": Format("gguf", "GGUFReader", write_gguf, gguf_shapes),
    "torch": Format("torch", "torch.load", write_torch, torch_shapes),
    "torch-mmap": Format("torch", "torch.load(mmap=True)", write_torch, torch_mapped_shapes),
    "onnx": Format("onnx", "onnx.load without external data", write_onnx, onnx_shapes),
    "npz": Format("numpy", "numpy.load and the members' headers", write_npz, npz_shapes),
    "npz-compressed": Format("numpy", "numpy.load and the members' headers", write_npz_compressed, npz_shapes),
}


def main(name: str, *args: str) -> None:
    form = FORMATS[name]
    importlib.import_module(form.package)  # imports are in no figure
    said = {"seconds": 0, "version": f"{form.package} {importlib.metadata.version(form.package)} {form.call}"}
    match args:
        case ("--version",):
            pass
        case ("--write", count, path):
            form.write([f"model.layers.{i // 64}.mlp.experts.{i % 64}.weight" for i in range(int(count))], path)
        case (path,):
            with tempfile.TemporaryDirectory() as folder:  # the first call of all imports more
                small = os.path.join(folder, os.path.basename(path))
                form.write(["tensor"], small)
                form.shapes(small)
            began = time.perf_counter()
            shapes = form.shapes(path)
            said["seconds"] = time.perf_counter() - began
            said |= {"count": len(list(shapes)), "sum": sum(math.prod(map(int, shape)) for shape in shapes)}
    print(json.dumps(said))


main(*sys.argv[1:])
