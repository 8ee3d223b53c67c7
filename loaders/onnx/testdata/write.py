# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Writes ONNX models into a folder, and prints what onnx itself reads of them.

write.py FOLDER FILE...: models of every type in every form, and the FILEs as they are.
write.py - FOLDER: what is in the folder, damaged or not.
The answer is JSON: a list of {file, tensors: [{name, type, shape, sha256}], findings}; or
{file, error} for a file that onnx cannot read.
"""

import hashlib
import json
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NAMES = {
    "FLOAT": "F32",
    "UINT8": "U8",
    "INT8": "I8",
    "UINT16": "U16",
    "INT16": "I16",
    "INT32": "I32",
    "INT64": "I64",
    "BOOL": "BOOL",
    "FLOAT16": "F16",
    "DOUBLE": "F64",
    "UINT32": "U32",
    "UINT64": "U64",
    "COMPLEX64": "C64",
    "COMPLEX128": "C128",
    "BFLOAT16": "BF16",
    "FLOAT8E4M3FN": "F8_E4M3",
    "FLOAT8E4M3FNUZ": "F8_E4M3FNUZ",
    "FLOAT8E5M2": "F8_E5M2",
    "FLOAT8E5M2FNUZ": "F8_E5M2FNUZ",
    "UINT4": "U4",
    "INT4": "I4",
    "FLOAT4E2M1": "F4",
    "FLOAT8E8M0": "F8_E8M0",
    "FLOAT6E2M3": "F6_E2M3",
    "FLOAT6E3M2": "F6_E3M2",
}
TYPES = [n for n, number in TensorProto.DataType.items() if n not in ("UNDEFINED", "STRING")]
SHAPES = [(), (1,), (8,), (3, 4), (0,), (2, 0, 3), (1, 2, 1, 2, 1, 2, 1, 2), (4, 1000)]
rng = np.random.default_rng(7)


def bits(dtype: str) -> int:
    return (
        4
        if dtype in ("UINT4", "INT4", "FLOAT4E2M1")
        else 2
        if dtype in ("UINT2", "INT2")
        else 6
        if "FLOAT6" in dtype
        else 8
    )


def values(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random bits of the type, NaN and infinity among them."""
    np_dtype = helper.tensor_dtype_to_np_dtype(getattr(TensorProto, dtype))
    n = int(np.prod(shape, dtype=np.int64))
    if dtype == "BOOL":
        return rng.integers(0, 2, n).astype(bool).reshape(shape)
    raw = rng.integers(0, 256, n * np_dtype.itemsize, dtype=np.uint8)
    if bits(dtype) < 8:
        raw &= (1 << bits(dtype)) - 1
    return raw.view(np_dtype).reshape(shape)


def typed(name: str, dtype: str, a: np.ndarray) -> TensorProto:
    """Like helper.make_tensor, which loses the bits of NaN on the way."""
    t = TensorProto(name=name, data_type=getattr(TensorProto, dtype), dims=a.shape)
    field = getattr(t, helper.tensor_dtype_to_field(t.data_type))
    flat = np.ascontiguousarray(a).reshape(-1)
    if bits(dtype) == 4:
        flat = numpy_helper._pack_4bitx2(flat)
    elif bits(dtype) == 2:
        flat = numpy_helper._pack_2bitx4(flat)
    elif dtype in ("FLOAT16", "BFLOAT16"):
        flat = flat.view(np.uint16)
    elif "FLOAT8" in dtype or "FLOAT6" in dtype or dtype == "BOOL":
        flat = flat.view(np.uint8)
    elif dtype == "COMPLEX64":
        flat = flat.view(np.float32)
    elif dtype == "COMPLEX128":
        flat = flat.view(np.float64)
    field.extend(flat.tolist())
    return t


def raw(name: str, dtype: str, a: np.ndarray) -> TensorProto:
    return helper.make_tensor(name, getattr(TensorProto, dtype), a.shape, a, raw=True)


def model(graph: onnx.GraphProto, **more: object) -> onnx.ModelProto:
    return helper.make_model(graph, producer_name="modelfs", ir_version=11, **more)


def graph(initializers: list[TensorProto], nodes: list[onnx.NodeProto] = (), name: str = "g") -> onnx.GraphProto:
    return helper.make_graph(list(nodes), name, [], [], initializer=initializers)


def packed(t: TensorProto, a: np.ndarray) -> bytes:
    """The bytes as a file has them: NumPy has a byte for each element."""
    n = bits(TensorProto.DataType.Name(t.data_type))
    flat = a.reshape(-1)
    if n == 4:
        return numpy_helper._pack_4bitx2(flat).tobytes()
    if n == 6:
        return numpy_helper._pack_6bit(flat.view(np.uint8)).tobytes()
    return a.tobytes()


def text(name: str | bytes) -> str:
    """A name that is text: protobuf gives others as bytes."""
    if isinstance(name, bytes):
        raise UnicodeError(name)
    return name


def constant(a: onnx.AttributeProto) -> np.ndarray | None:
    """The numbers that a Constant's attribute stands for."""
    if a.name == "value_float" and a.HasField("f"):
        return np.array(a.f, dtype=np.float32)
    if a.name == "value_floats" and (a.floats or a.type == a.FLOATS):
        return np.array(a.floats, dtype=np.float32)
    if a.name == "value_int" and a.HasField("i"):
        return np.array(a.i, dtype=np.int64)
    if a.name == "value_ints" and (a.ints or a.type == a.INTS):
        return np.array(a.ints, dtype=np.int64)
    return None


def listed(t: TensorProto) -> bool:
    if t.data_type not in TensorProto.DataType.values():
        return False
    dtype = TensorProto.DataType.Name(t.data_type)
    elements = int(np.prod(t.dims, dtype=np.int64))
    if dtype not in NAMES:
        return False
    if "FLOAT6" in dtype and t.int32_data:
        return False
    return elements * bits(dtype) % (24 if bits(dtype) == 6 else 8) == 0


def describe(path: str) -> dict:
    """Every tensor of a model, by its path, as onnx reads it."""
    m = onnx.load(path, load_external_data=False)
    out: list[dict] = []
    taken: set[str] = set()
    later: list[tuple[str, TensorProto]] = []
    skipped = 0

    def add(name: str, t: TensorProto) -> None:
        nonlocal skipped
        if not listed(t):
            skipped += 1
            return
        a = numpy_helper.to_array(t, os.path.dirname(path))
        taken.add(name)
        data = packed(t, a)
        out.append(
            {
                "name": name,
                "type": NAMES[TensorProto.DataType.Name(t.data_type)],
                "shape": list(a.shape),
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )

    def put(prefix: str, name: str, t: TensorProto) -> None:
        if prefix:
            later.append((prefix + name, t))
        else:
            add(name, t)

    def walk(nodes: list[onnx.NodeProto], prefix: str) -> None:
        nonlocal skipped
        for i, n in enumerate(nodes):
            inside = f"{prefix}{text(n.name) if 0 < len(n.name) <= 200 else f'{text(n.op_type)}#{i}'}/"
            output = text(n.output[0]) if n.output else ""
            for a in n.attribute:
                if n.op_type == "Constant" and n.domain in ("", "ai.onnx"):
                    numbers = constant(a)
                    if numbers is not None:
                        put(prefix, output, numpy_helper.from_array(numbers))
                        continue
                    if a.name == "value" and a.HasField("t"):
                        put(prefix, output, a.t)
                        continue
                    if a.name in ("value_string", "value_strings") and (a.s or a.strings):
                        skipped += 1
                        continue
                if a.HasField("t"):
                    put(inside, text(a.name), a.t)
                for k, t in enumerate(a.tensors):
                    put(inside, f"{text(a.name)}/{k}", t)
                skipped += a.HasField("sparse_tensor") + len(a.sparse_tensors)
                if a.HasField("g"):
                    down(a.g, f"{inside}{text(a.name)}/")
                for k, g in enumerate(a.graphs):
                    down(g, f"{inside}{text(a.name)}/{k}/")

    def down(g: onnx.GraphProto, prefix: str) -> None:
        nonlocal skipped
        walk(g.node, prefix)
        for t in g.initializer:
            put(prefix, text(t.name), t)
        skipped += len(g.sparse_initializer)

    down(m.graph, "")
    for i, t in enumerate(m.training_info):
        down(t.initialization, f"training_info/{i}/initialization/")
        down(t.algorithm, f"training_info/{i}/algorithm/")
    for i, f in enumerate(m.functions):
        walk(f.node, f"functions/{text(f.name) or f'#{i}'}/")
    for name, t in later:
        unique, n = name, 2
        while unique in taken:
            unique, n = f"{name}~{n}", n + 1
        add(unique, t)
    return {"file": path, "tensors": out, "findings": skipped}


def nested() -> onnx.ModelProto:
    """Constants, graphs in graphs, lists of tensors, a function, one path several times."""

    def tensor(name: str, *shape: int) -> TensorProto:
        return raw(name, "FLOAT", values("FLOAT", shape))

    def constants() -> list[onnx.NodeProto]:
        return [
            helper.make_node("Constant", [], ["c.tensor"], value=tensor("other name", 2, 3)),
            helper.make_node("Constant", [], ["c.typed"], "named", value=typed("", "INT16", values("INT16", (5,)))),
            helper.make_node("Constant", [], ["c.float"], value_float=1.5),
            helper.make_node("Constant", [], ["c.floats"], value_floats=[1.0, -2.5, float("nan")]),
            helper.make_node("Constant", [], ["c.float list"], value_floats=[3.25]),
            helper.make_node("Constant", [], ["c.int"], value_int=-(2**40)),
            helper.make_node("Constant", [], ["c.ints"], value_ints=[0, -1, 2**63 - 1, -(2**63)]),
            helper.make_node("Constant", [], ["c.text"], value_string="text"),
            helper.make_node("ConstantOfShape", ["c.ints"], ["x"], value=tensor("", 1)),
            helper.make_node("Gemm", ["c.tensor", "w"], ["y"], alpha=0.5),
        ]

    inner = graph([tensor("w", 3)], [helper.make_node("Constant", [], ["w2"], value_int=3)])
    middle = graph(
        [tensor("w", 4)], [helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner), *constants()]
    )
    mine = helper.make_node(
        "Mine", [], ["z"], "mine", domain="x.y", many=[tensor("a", 1), tensor("b", 2)], bodies=[inner, middle]
    )
    top = graph(
        [tensor("w", 2), tensor("If/then_branch/w", 1), tensor("If/then_branch/w~2", 1), tensor("é/../\n", 1)],
        [
            *constants(),
            mine,
            helper.make_node("If", ["c"], ["z"], "If", then_branch=inner, else_branch=middle),
            helper.make_node("If", ["c"], ["z"], "If", then_branch=inner, else_branch=inner),
            helper.make_node("Loop", ["c"], ["z"], "n" * 201, body=middle),
        ],
    )
    function = helper.make_function("x.y", "f", [], ["c.tensor"], constants(), [])
    m = model(top, functions=[function])
    t = m.training_info.add()
    t.initialization.CopyFrom(inner)
    t.algorithm.CopyFrom(middle)
    return m


def attempt(path: str) -> dict:
    try:
        return describe(path)
    except Exception as e:  # noqa: BLE001 - whatever it is, the file is not read
        return {"file": path, "error": f"{type(e).__name__}: {e}"}


def main() -> None:
    folder, files = sys.argv[1], sys.argv[2:]
    if folder == "-":
        json.dump([attempt(os.path.join(files[0], name)) for name in sorted(os.listdir(files[0]))], sys.stdout)
        return
    models: dict[str, onnx.ModelProto] = {"nested": nested()}
    for make in (raw, typed):
        for dtype in TYPES:
            tensors = [make(f"{dtype} {shape}", dtype, values(dtype, shape)) for shape in SHAPES]
            models[f"{make.__name__}-{dtype}"] = model(graph(tensors))
    text = helper.make_tensor("text", TensorProto.STRING, [2], [b"a", b"b"])
    sparse = onnx.SparseTensorProto(
        values=raw("sparse", "FLOAT", values("FLOAT", (2,))), indices=raw("", "INT64", np.array([1, 2])), dims=[9]
    )
    g = graph([text])
    g.sparse_initializer.append(sparse)
    models["unlisted"] = model(g)
    # every type's smallest and largest number, typed
    limits = [
        typed(d, d, np.array([np.iinfo(t).min, np.iinfo(t).max, 0, -1 if np.iinfo(t).min < 0 else 1], dtype=t))
        for d, t in [
            ("INT8", "i1"),
            ("UINT8", "u1"),
            ("INT16", "i2"),
            ("UINT16", "u2"),
            ("INT32", "i4"),
            ("UINT32", "u4"),
            ("INT64", "i8"),
            ("UINT64", "u8"),
        ]
    ]
    models["limits"] = model(graph(limits))
    for name, m in models.items():
        onnx.save(m, os.path.join(folder, name + ".onnx"))
    deep = os.path.join(folder, "deep")
    os.mkdir(deep)
    for name, one in ("one", True), ("each", False):
        tensors = [
            raw(f"{dtype}{i}", dtype, values(dtype, s))
            for dtype in TYPES
            if dtype in NAMES
            for i, s in enumerate([(8,), (0,), (2, 3, 4)])
        ]
        m = model(
            graph(
                tensors, [helper.make_node("Constant", [], ["c"], value=raw("inside", "FLOAT", values("FLOAT", (70,))))]
            )
        )
        onnx.save(
            m,
            os.path.join(deep, name + ".onnx"),
            save_as_external_data=True,
            all_tensors_to_one_file=one,
            location=name + ".data" if one else None,
            size_threshold=0,
            convert_attribute=True,
        )
    written = sorted(os.path.join(at, f) for at, _, names in os.walk(folder) for f in names if f.endswith(".onnx"))
    json.dump([describe(p) for p in written + files], sys.stdout)


if __name__ == "__main__":
    main()
