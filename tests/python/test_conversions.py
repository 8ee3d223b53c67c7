# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""tensors/MODEL@f32, @f16 and @bf16 are what torch's Tensor.to and gguf.dequantize make
of a model."""

from __future__ import annotations

import warnings
from pathlib import Path

import gguf
import numpy as np
import pytest
from index import read_index
from library import EVERY_TYPE, EVERY_TYPE_FILE, MINILM, SILERO, Library
from mounts import Mount

WIDTHS = {"f32": np.dtype("<u4"), "f16": np.dtype("<u2"), "bf16": np.dtype("<u2")}
INFINITY = {"f32": 0x7F800000, "f16": 0x7C00, "bf16": 0x7F80}

# What gguf.dequantize can do and modelfs does not: docs/formats.md.
CODE_BOOKS = {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"}


def same(kind: str, shown: bytes, want: bytes) -> bool:
    """Bit for bit; where torch has NaN so has modelfs, but not each NaN has the same bits on every processor."""
    a, b = np.frombuffer(shown, WIDTHS[kind]), np.frombuffer(want, WIDTHS[kind])
    magnitude = WIDTHS[kind].type(np.iinfo(WIDTHS[kind]).max >> 1)
    nan = (b & magnitude) > INFINITY[kind]
    return a.shape == b.shape and bool(np.all(np.where(nan, (a & magnitude) > INFINITY[kind], a == b)))


def test_same_can_tell() -> None:
    one, minus, nan, other = (np.uint16(n).tobytes() for n in (0x3C00, 0xBC00, 0x7E01, 0xFE02))
    assert same("f16", one, one) and same("f16", nan, other)
    assert not (same("f16", one, minus) or same("f16", one, nan) or same("f16", nan, one) or same("f16", one, b""))


def converted(mount: Mount, model: str, kind: str) -> dict[str, tuple[str, list[int], Path]]:
    """Type, shape and file of each tensor."""
    folder = mount.tensors / f"{model}@{kind}"
    index = read_index(folder)
    assert index.error is None and index.model == f"{model}@{kind}"
    return {e.name: (e.dtype, e.shape, folder / e.path) for e in index.tensors}


@pytest.mark.torch
@pytest.mark.parametrize("kind", WIDTHS)
@pytest.mark.parametrize("model", ["torch/types", "torch/big-endian", "torch/views", "network/onnx-typed"])
def test_as_torch_converts(mount: Mount, library: Library, model: str, kind: str) -> None:
    """Floating-point tensors as Tensor.to makes them; any others stay as they are."""
    import torch
    from reference_torch import DTYPES, data

    target = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[kind]
    types, shown = {name: dtype for dtype, name in DTYPES.items()}, converted(mount, model, kind)
    assert shown.keys() == library.tensors(model).keys()
    for want in library.tensors(model).values():
        dtype, shape, file = shown[want.name]
        assert tuple(shape) == want.shape, want.name
        if not types[want.dtype].is_floating_point:
            assert (dtype, file.read_bytes()) == (want.dtype, want.data), want.name
            continue
        raw = torch.frombuffer(bytearray(want.data), dtype=types[want.dtype]) if want.data else torch.empty(0)
        assert dtype == kind.upper() and same(kind, file.read_bytes(), data(raw.to(target))), want.name


@pytest.mark.torch
@pytest.mark.parametrize("kind", WIDTHS)
@pytest.mark.parametrize("model", [SILERO, MINILM, "silero/silero_vad_half.onnx"])
def test_as_torch_converts_real_weights(mount: Mount, library: Library, model: str, kind: str) -> None:
    """These have no NaN: every bit is torch's."""
    import torch
    from reference_torch import DTYPES, data

    target = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[kind]
    types, shown = {name: dtype for dtype, name in DTYPES.items()}, converted(mount, model, kind)
    floats = [t for t in library.tensors(model).values() if types[t.dtype].is_floating_point and t.data]
    assert floats
    for want in floats:
        raw = torch.frombuffer(bytearray(want.data), dtype=types[want.dtype])
        assert shown[want.name][2].read_bytes() == data(raw.to(target)), want.name


@pytest.mark.torch
@pytest.mark.parametrize("kind", WIDTHS)
def test_as_gguf_dequantizes(mount: Mount, library: Library, kind: str) -> None:
    """Every block type that modelfs converts, of random bytes; the narrow ones are the wide ones rounded."""
    import torch
    from reference_torch import data

    target = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[kind]
    shown, blocks, kept = converted(mount, EVERY_TYPE, kind), set(), set()
    for t in gguf.GGUFReader(library.folder / EVERY_TYPE / EVERY_TYPE_FILE).tensors:
        dtype, shape, file = shown[t.name]
        assert tuple(shape) == tuple(t.shape.tolist()[::-1]), t.name
        block, _ = gguf.GGML_QUANT_SIZES[t.tensor_type]
        if dtype != kind.upper():
            kept.add(dtype)
            assert file.read_bytes() == t.data.tobytes(), t.name
        elif block > 1:
            blocks.add(t.tensor_type.name)
            with warnings.catch_warnings(action="ignore"):  # random bytes make numbers of any size
                numbers = gguf.dequantize(t.data, t.tensor_type)
            assert same(kind, file.read_bytes(), data(torch.from_numpy(numbers).to(target))), t.name
    assert blocks == {
        "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "TQ1_0", "TQ2_0",
        "IQ4_NL", "IQ4_XS", "MXFP4", "NVFP4",
    }  # fmt: skip
    assert kept >= CODE_BOOKS | {"I8", "I16", "I32", "I64"}


@pytest.mark.parametrize(("name", "kind"), [("F16", "F16"), ("Q8_0", "Q8_0"), ("Q4_K", "Q4_K")])
def test_npy(mount: Mount, library: Library, name: str, kind: str) -> None:
    """Without torch: np.load gives the numbers, as NumPy and gguf make them."""
    (want,) = (t for t in gguf.GGUFReader(library.weights(EVERY_TYPE)[0]).tensors if t.name == f"blk.0.{name}")
    array = np.load(mount.tensors / f"{EVERY_TYPE}@f32" / f"blk.0.{name}.npy", mmap_mode="r")
    with np.errstate(all="ignore"):  # random bytes make numbers of any size
        numbers = gguf.dequantize(want.data, want.tensor_type).astype("<f4")
    assert array.dtype == numbers.dtype and array.shape == numbers.shape
    assert same("f32", array.tobytes(), numbers.tobytes())


def test_only_tensors_have_variants(mount: Mount) -> None:
    assert (mount.tensors / f"{SILERO}@f32").is_dir()
    for none in (mount.models / f"{SILERO}@f32", mount.tensors / f"{SILERO}@f64", mount.tensors / "none@f32"):
        assert not none.exists(), none
