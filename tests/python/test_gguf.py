# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""gguf's own reader opens models/…gguf as from disk."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import GGUFReader
from index import read_index
from library import EVERY_TYPE, EVERY_TYPE_FILE, Library
from mounts import Mount


def test_tensors(mount: Mount, library: Library) -> None:
    disk = GGUFReader(library.folder / EVERY_TYPE / EVERY_TYPE_FILE)
    shown = GGUFReader(mount.models / EVERY_TYPE / EVERY_TYPE_FILE)
    assert [t.name for t in shown.tensors] == [t.name for t in disk.tensors] != []
    for a, b in zip(shown.tensors, disk.tensors, strict=True):
        assert (a.tensor_type, a.shape.tolist(), a.data_offset) == (b.tensor_type, b.shape.tolist(), b.data_offset)
        assert a.data.tobytes() == b.data.tobytes(), a.name


def test_keys(mount: Mount, library: Library) -> None:
    disk = GGUFReader(library.folder / EVERY_TYPE / EVERY_TYPE_FILE)
    shown = GGUFReader(mount.models / EVERY_TYPE / EVERY_TYPE_FILE)
    assert {k: f.contents() for k, f in shown.fields.items()} == {k: f.contents() for k, f in disk.fields.items()}
    assert shown.fields["tokenizer.ggml.tokens"].contents() == ["<s>", "</s>", "ü"]


def test_offsets_are_those_of_the_index(mount: Mount, library: Library) -> None:
    reader = GGUFReader(library.folder / EVERY_TYPE / EVERY_TYPE_FILE)
    entries = read_index(mount.tensors / EVERY_TYPE).tensors
    assert [(e.name, e.offset, e.nbytes) for e in entries] == [
        (t.name, t.data_offset, t.n_bytes) for t in reader.tensors
    ]


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_K", "BF16"])
def test_npy_can_be_dequantized(mount: Mount, library: Library, kind: str) -> None:
    """The rows of bytes in .npy are what gguf's functions take."""
    rows = np.load(mount.tensors / EVERY_TYPE / f"blk.0.{kind}.npy", mmap_mode="r").view(np.uint8)
    (want,) = (t for t in GGUFReader(library.weights(EVERY_TYPE)[0]).tensors if t.name == f"blk.0.{kind}")
    with np.errstate(all="ignore"):  # random bytes make numbers of any size
        got = gguf.dequantize(rows, want.tensor_type)
        assert np.array_equal(got, gguf.dequantize(want.data, want.tensor_type), equal_nan=True)
