// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package ggml

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/modelfs/modelfs/internal/pythontest"
)

// writing writes files in the three layouts with struct and NumPy, as the converters
// do, the data quantised by the gguf package; it prints what is in them.
const writing = `
import hashlib, json, os, struct, sys
import numpy as np
import gguf
from gguf import GGMLQuantizationType as Q

rng = np.random.default_rng(0)
i32 = lambda *n: struct.pack(f"<{len(n)}i", *n)
text = lambda s: i32(len(s)) + s
f32 = lambda *shape: rng.standard_normal(shape).astype("<f4")
tokens = [bytes([i]) for i in range(256)] + [b"", " déjà".encode(), b"x" * 100]
vocabulary = i32(len(tokens)) + b"".join(map(text, tokens))

layouts = {
    "whisper": lambda ftype: i32(51865, 1500, 384, 6, 4, 448, 384, 6, 4, 80, ftype) + i32(80, 201) + f32(80, 201).tobytes() + vocabulary,
    "parakeet": lambda ftype: i32(8192, 5000, 1024, 8, 24, 128, ftype, 512, 8, 256, 9, 640, 2, 5, 10) + i32(128, 257)
        + f32(128, 257).tobytes() + i32(400) + f32(400).tobytes() + i32(0, 1, 2, 3, 4) + vocabulary,
    "silero": lambda ftype: text(b"silero-16k") + i32(5, 1, 2, 512, 64) + i32(4, 129, 128, 3, 128, 64, 3, 64, 64, 3, 64, 128, 3)
        + i32(128, 128, 128, 1),
}
kinds = {Q.F32: 0, Q.F16: 1, Q.Q4_0: 2, Q.Q4_1: 3, Q.Q8_0: 7, Q.Q5_0: 8, Q.Q5_1: 9}
out = {}
for name, before in layouts.items():
    for kind in kinds if name != "silero" else [Q.F32, Q.F16]:
        file = f"{name}-{kind.name}.bin"
        tensors = []
        ftype = kinds[kind] + (2000 if kind not in (Q.F32, Q.F16) else 0)
        with open(os.path.join(sys.argv[1], file), "wb") as f:
            f.write(i32(0x67676d6c) + before(ftype))
            for i, shape in enumerate([(384,), (64, 96), (3, 5, 32), (2, 3, 4, 32), (1, 1), (), (7,)]):
                data, own = f32(*shape), Q.F32
                if len(shape) == 2 and shape[-1] % 32 == 0 or kind is Q.F16 and len(shape) > 1:
                    own = kind
                raw = (data.astype("<f2") if own is Q.F16 else data if own is Q.F32 else gguf.quantize(data, own)).tobytes()
                tensor = f"blocks.{i}.wéight"
                f.write(i32(len(shape), len(tensor.encode()), own.value) + i32(*reversed(shape)) + tensor.encode() + raw)
                tensors.append({"name": tensor, "dtype": own.name, "shape": shape, "sha256": hashlib.sha256(raw).hexdigest()})
        out[file] = tensors
print(json.dumps(out))
`

// TestPython reads what the published converters' layouts are when Python writes
// them: the same names, types, shapes and bytes.
func TestPython(t *testing.T) {
	dir := t.TempDir()
	text, err := exec.Command(pythontest.Find(t, "gguf", "numpy"), "-c", writing, dir).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var files map[string][]struct {
		Name, DType, SHA256 string
		Shape               []int64
	}
	if err := json.Unmarshal(text, &files); err != nil || len(files) != 16 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for file, want := range files {
		content, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		ix, err := parse(bytes.NewReader(content), int64(len(content)))
		if err != nil || len(ix.Tensors) != len(want) {
			t.Errorf("%s: %v", file, err)
			continue
		}
		check(t, ix, int64(len(content)))
		for i, w := range want {
			got := ix.Tensors[i]
			sum := sha256.Sum256(content[got.Offset : got.Offset+got.NBytes])
			if got.Name != w.Name || got.DType.String() != w.DType || !slices.Equal(got.Shape, w.Shape) || hex.EncodeToString(sum[:]) != w.SHA256 {
				t.Errorf("%s: %+v, Python wrote %+v", file, got, w)
			}
		}
	}
}
