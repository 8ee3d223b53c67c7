# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""Has the reference libraries convert what lies in a folder.

For each DTYPE.in it writes DTYPE.F32, and for the types that torch has DTYPE.F16 and
DTYPE.BF16: raw elements, little-endian. GGML's block types are read by gguf.
"""

import sys
from pathlib import Path

import numpy as np

TORCH = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}


def convert(source: Path) -> None:
    """Write the conversions of one file."""
    data = source.read_bytes()
    if source.stem in TORCH:
        import torch

        elements = torch.frombuffer(bytearray(data), dtype=getattr(torch, TORCH[source.stem]))
        for name in ("F32", "F16", "BF16"):
            made = elements.to(getattr(torch, TORCH[name]))
            source.with_suffix("." + name).write_bytes(made.view(torch.uint8).numpy().tobytes())
        return
    import gguf

    kind = gguf.GGMLQuantizationType[source.stem]
    _, width = gguf.GGML_QUANT_SIZES[kind]
    with np.errstate(all="ignore"):
        made = gguf.quants.dequantize(np.frombuffer(data, np.uint8).reshape(-1, width), kind)
    assert made.dtype == np.float32
    source.with_suffix(".F32").write_bytes(made.tobytes())


for path in sorted(Path(sys.argv[1]).glob("*.in")):
    convert(path)
