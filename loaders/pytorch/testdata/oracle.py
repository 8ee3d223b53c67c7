# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""oracle FOLDER: has torch write files of every kind, and the real ones that are
installed, into FOLDER; prints as JSON what torch itself reads from each."""

import hashlib
import importlib.util
import json
import pathlib
import shutil
import sys
import warnings
from collections import Counter, OrderedDict
from typing import Any
from unittest import mock

import torch
from torch import nn

warnings.simplefilter("ignore")
torch.manual_seed(1)

NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "complex64": "C64", "complex128": "C128", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
}  # fmt: skip


def described(name: str, t: torch.Tensor) -> dict[str, Any]:
    """A tensor as modelfs lists it."""
    t = t.detach()
    plain = t.resolve_conj().resolve_neg().contiguous().reshape(-1)
    data = plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return {
        "name": name,
        "dtype": NAMES[str(t.dtype).removeprefix("torch.")],
        "shape": list(t.shape),
        "strides": None if t.is_contiguous() else list(t.stride()),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def walk(value: object, path: str | None, out: list[dict[str, Any]]) -> None:
    """Names every tensor in dicts, lists and tuples by the way to it."""
    if isinstance(value, torch.Tensor):
        out.append(described("tensor" if path is None else path, value))
    elif isinstance(value, dict):
        for k, v in value.items():
            walk(v, str(k) if path is None else f"{path}/{k}", out)
    elif isinstance(value, list | tuple):
        for i, v in enumerate(value):
            walk(v, str(i) if path is None else f"{path}/{i}", out)


def some(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """Random bytes as a tensor; bools are 0 and 1."""
    width = torch.empty(0, dtype=dtype).element_size()
    n = width
    for x in shape:
        n *= x
    raw = torch.randint(0, 2 if dtype == torch.bool else 256, (n,), dtype=torch.uint8)
    return raw.view(dtype).reshape(shape) if n else torch.empty(shape, dtype=dtype)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.blocks = nn.ModuleList([nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 2), nn.ReLU())])
        self.register_buffer("window", torch.hann_window(4))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x)).mean(-1) * self.scale
        return y + torch.tensor([0.5, 1.5, 2.5]) + self.window.sum()


def cases() -> dict[str, Any]:
    """Objects to be saved."""
    base = some(torch.float32, 6, 8)
    tied = some(torch.float16, 5, 7)
    parameter = nn.Parameter(some(torch.float32, 3))
    parameter.tag = "x"  # type: ignore[attr-defined]
    every = {n: some(getattr(torch, n), 3, 5) for n in NAMES}
    return {
        "dtypes": every,
        "dtypes-empty": {n: some(getattr(torch, n), 2, 0, 3) for n in NAMES},
        "dtypes-scalar": {n: some(getattr(torch, n)) for n in NAMES},
        "dtypes-turned": {n: t.t() for n, t in every.items()},
        "views": {
            "all": base, "row": base[2], "column": base[:, 3], "part": base[1:4, 2:7], "steps": base[::2, ::3],
            "turned": base.t(), "scalar": base[5, 7], "none": base[3:3], "wide": base[:, :1].expand(6, 9),
            "repeated": base[0, 0].expand(2, 3), "windows": base.flatten().unfold(0, 4, 2), "bytes": some(torch.uint8, 12)[3:],
            "overlap": base.flatten().as_strided((3, 3), (1, 1), 2), "ones": base[:1, :1].expand(1, 5),
        },
        "tied": {"a": tied, "b": tied, "c": tied[1:], "d": {"e": tied}},
        "dims": {"eight": some(torch.int16, 2, 1, 2, 1, 3, 1, 1, 2), "permuted": some(torch.uint8, 1, 2, 3, 1, 2, 1, 2, 3).permute(7, 6, 5, 4, 3, 2, 1, 0)},
        "nested": {
            "dims": {"n_mels": 80}, "state": OrderedDict([("encoder.conv1.weight", some(torch.float32, 2, 2)), ("b", [some(torch.uint8, 3), (some(torch.bool, 2),)])]),
            7: some(torch.int32, 1), "": some(torch.int8, 2), -3: {0: {1: some(torch.int8, 1)}}, True: some(torch.int8, 1), None: some(torch.int8, 4),
            "list": [1, "x", None, [some(torch.int64, 2)]],
        },
        "others": {
            "t": parameter, "size": torch.Size([1, 2]), "device": torch.device("cpu"), "dtype": torch.float16, "set": {1, 2},
            "bytes": b"abc\xff", "long": 1 << 200, "minus": -(1 << 62), "float": 1.5, "complex": 1 + 2j, "counter": Counter("aab"), "text": "ä" * 70000,
        },
        "bare": some(torch.float64, 2, 2),
        "list": [some(torch.float64, 2), {"a": some(torch.float32, 1)}],
        "nothing": {"a": 1},
        "many": {f"layers.{i}.weight": some(torch.uint8, i % 5) for i in range(700)},
        "state": Net().state_dict(),
        "signs": {
            "conj": some(torch.complex64, 2, 3).conj(), "turned": some(torch.complex128, 2, 3).t().conj(), "neg": some(torch.complex64, 4).conj().imag,
            "both": torch._neg_view(some(torch.complex64, 3).conj()), "half": torch._neg_view(some(torch.bfloat16, 3)),
        },
        "optimizer": {"state": {0: {"step": torch.tensor(1.0), "exp_avg": some(torch.float32, 2)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99), "params": [0]}]},
    }  # fmt: skip


def refused() -> dict[str, Any]:
    """Objects with tensors that modelfs has to refuse."""
    return {
        "sparse": {"a": torch.eye(3).to_sparse()},
        "csr": {"a": torch.eye(3).to_sparse_csr()},
        "meta": {"a": torch.empty(3, device="meta")},
        "complex32": {"a": torch.zeros(3, dtype=torch.complex32)},
        "quantised": {"a": torch.quantize_per_tensor(torch.ones(3), 0.1, 3, torch.qint8)},
        "channels": {"a": torch.quantize_per_channel(torch.ones(2, 3), torch.ones(2), torch.zeros(2), 0, torch.quint8)},
        "set": {"a": {torch.ones(2)}},
        "key": {(1, 2): torch.ones(2)},
        "names": {1: torch.ones(2), "1": torch.ones(2)},
    }


def main(folder: pathlib.Path) -> None:
    out: list[dict[str, Any]] = []

    def add(path: pathlib.Path, value: object = None, **more: bool) -> None:
        tensors: list[dict[str, Any]] = []
        walk(torch.load(path, weights_only=True) if value is None else value, None, tensors)
        out.append({"file": path.name, "tensors": tensors, **more})

    for name, value in cases().items():
        for kind, how in {
            "zip": {}, "legacy": {"_use_new_zipfile_serialization": False}, "zip4": {"pickle_protocol": 4}, "zip3": {"pickle_protocol": 3},
            "legacy5": {"_use_new_zipfile_serialization": False, "pickle_protocol": 5},
        }.items():  # fmt: skip
            path = folder / f"{name}-{kind}.pt"
            torch.save(value, path, **how)
            if kind.startswith("legacy") and name.startswith("dtypes"):
                add(path, value)  # torch writes uint16 there, and fails to read it
            else:
                add(path, torch.load(path, weights_only="pickle_protocol" not in how))
        if name in ("dtypes", "views", "signs", "dims"):
            path = folder / f"{name}-big.pt"
            untyped = ("uint16", "uint32", "uint64")  # torch does not turn these round
            with mock.patch.object(sys, "byteorder", "big"):
                torch.save({k: v for k, v in value.items() if k not in untyped}, path)
            add(path)
    from torch.utils.serialization import config

    with mock.patch.object(config.save, "storage_alignment", 4096):
        torch.save({"a": some(torch.uint8, 3), "b": some(torch.float32, 3)}, folder / "aligned.pt")
    add(folder / "aligned.pt")
    for name, value in refused().items():
        for kind in (True, False):
            path = folder / f"refused-{name}-{kind}.pt"
            torch.save(value, path, _use_new_zipfile_serialization=kind)
            out.append({"file": path.name, "refused": True})

    net = Net().eval()
    for kind in (True, False):
        path = folder / f"module-{kind}.pt"
        torch.save({"net": net}, path, _use_new_zipfile_serialization=kind)
        state = {"net": dict(net.state_dict())}
        add(path, {f"net/{k}": v for k, v in state["net"].items()}, findings=True)
    torch.save(net, folder / "module-alone.pt")
    add(folder / "module-alone.pt", dict(net.state_dict()), findings=True)

    for name, script in {"script": torch.jit.script(net), "trace": torch.jit.trace(net, torch.ones(1, 2, 9))}.items():
        path = folder / f"{name}.jit"
        torch.jit.save(script, path)
        add(path, dict(torch.jit.load(path).state_dict()), findings=True, more=True)
    for package, file in (("silero_vad", "data/silero_vad.jit"), ("resemblyzer", "pretrained.pt")):
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        real = pathlib.Path(spec.submodule_search_locations[0]) / file
        path = folder / real.name
        shutil.copy(real, path)
        if path.suffix == ".jit":
            add(path, dict(torch.jit.load(path, map_location="cpu").state_dict()), findings=True, more=True)
        else:
            add(path, torch.load(path, weights_only=True, map_location="cpu"))
    json.dump(out, sys.stdout)


main(pathlib.Path(sys.argv[1]))
