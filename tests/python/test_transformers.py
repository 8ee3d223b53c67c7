# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""transformers and sentence-transformers take MiniLM from the mount as from disk.

Tokenizers and configurations need no torch; what does is marked so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import required
import transformers
from library import MINILM, Library
from mounts import Mount

SENTENCES = ["A model is read once.", "Modelle werden einmal gelesen, nicht öfter.", "mmap(2) " * 40]


def test_config(mount: Mount, library: Library) -> None:
    shown = transformers.AutoConfig.from_pretrained(mount.models / MINILM)
    disk = transformers.AutoConfig.from_pretrained(library.folder / MINILM)
    assert shown.model_type == "bert"
    assert {**shown.to_dict(), "_name_or_path": ""} == {**disk.to_dict(), "_name_or_path": ""}


def test_tokenizer(mount: Mount, library: Library) -> None:
    shown = transformers.AutoTokenizer.from_pretrained(mount.models / MINILM)
    disk = transformers.AutoTokenizer.from_pretrained(library.folder / MINILM)
    assert shown.get_vocab() == disk.get_vocab()
    ids = shown(SENTENCES)["input_ids"]
    assert ids == disk(SENTENCES)["input_ids"]
    assert shown.decode(ids[0], skip_special_tokens=True) == SENTENCES[0].lower()


def test_loads_nothing(mount_anew: Callable[[Path], Mount], library: Library) -> None:
    """Both read side files alone."""
    mount = mount_anew(library.folder)
    transformers.AutoTokenizer.from_pretrained(mount.models / MINILM)
    transformers.AutoConfig.from_pretrained(mount.models / MINILM)
    assert mount.model(MINILM)["state"] == "absent"


def mean_embedding(folder: Path) -> np.ndarray:
    """MiniLM's embeddings by transformers alone: the mean of the last layer over the tokens, of length 1."""
    import torch

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokens = tokenizer(SENTENCES, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        last = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    mean = (last * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(mean).numpy()


def sentence_embedding(folder: Path) -> np.ndarray:
    """The same by sentence-transformers."""
    required.package("sentence_transformers", "torch")
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode(SENTENCES, normalize_embeddings=True)


@pytest.mark.torch
@pytest.mark.parametrize("embedding", [mean_embedding, sentence_embedding])
def test_same_embedding(mount: Mount, library: Library, embedding: Callable[[Path], np.ndarray]) -> None:
    shown, disk = embedding(mount.models / MINILM), embedding(library.folder / MINILM)
    assert shown.shape == (len(SENTENCES), 384)
    np.testing.assert_allclose(shown, disk, rtol=0, atol=1e-6)
    assert mount.model(MINILM)["loads"] > 0, "it did not read from the mount"


@pytest.mark.torch
def test_same_weights(mount: Mount, library: Library) -> None:
    import torch

    shown, disk = (
        transformers.AutoModel.from_pretrained(folder / MINILM).state_dict()
        for folder in (mount.models, library.folder)
    )
    assert shown.keys() == disk.keys()
    assert [name for name in disk if not torch.equal(shown[name], disk[name])] == []
