# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Sentence embeddings by MiniLM: a handler whose weights lie in the mount, once for all workers.

modelfs serve --model all-MiniLM-L6-v2=examples/serve_minilm.py:MiniLM --workers 2 --max-batch 32 --max-delay 2ms
"""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer


class MiniLM:
    inputs = (("sentence", "BYTES", ()),)
    outputs = (("embedding", "FP32", (384,)),)
    max_batch = 64

    def load(self, model):  # noqa: ANN001, ANN201 - a modelfs.Model
        bert = AutoModel.from_config(AutoConfig.from_pretrained(model.path), add_pooling_layer=False)
        self.model = model.load_into(bert.eval(), strict=False)
        self.tokenizer = AutoTokenizer.from_pretrained(model.path)

    @torch.inference_mode()
    def infer(self, inputs):  # noqa: ANN001, ANN201 - name -> array
        texts = [sentence.decode() for sentence in inputs["sentence"]]
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        mask = tokens["attention_mask"][..., None]
        mean = (self.model(**tokens).last_hidden_state * mask).sum(1) / mask.sum(1)
        return {"embedding": torch.nn.functional.normalize(mean)}
