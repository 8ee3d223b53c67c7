# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""A model of the exact shape of all-MiniLM-L6-v2, with random weights: it takes as long as that one.

serving_minilm.py --version
serving_minilm.py make FOLDER"""

import json
import sys
from pathlib import Path

import safetensors.torch
import torch
import transformers
from transformers import BertConfig, BertModel

transformers.logging.set_verbosity_error()


def minilm() -> torch.nn.Module:
    torch.manual_seed(0)
    return BertModel(
        BertConfig(num_hidden_layers=6, hidden_size=384, num_attention_heads=12, intermediate_size=1536),
        add_pooling_layer=False,
    )


def main() -> None:
    size = 0
    if sys.argv[1] == "make":
        folder = Path(sys.argv[2])
        folder.mkdir(parents=True)
        weights = minilm().state_dict()
        size = sum(t.nbytes for t in weights.values())
        safetensors.torch.save_file(weights, folder / "model.safetensors")
    version = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(json.dumps({"seconds": 0, "bytes": size, "version": version}))


if __name__ == "__main__":
    main()
