// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npz

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/internal/pythontest"
	"github.com/modelfs/modelfs/loaders/npy"
	"github.com/modelfs/modelfs/tensors"
)

// listing has NumPy save arrays of every kind, and says what it reads from those
// files and from the .npz and .npy files that NumPy and SciPy carry.
const listing = `
import glob, hashlib, json, os, sys
import numpy as np

dir = sys.argv[1]
arrays = {}
for dtype in ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16"]:
    for order in "<>":
        for shape in [(), (0,), (0, 3), (7,), (2, 3), (1, 5, 1), (2, 3, 4), (2, 1, 2, 1, 2, 1, 2, 3)]:
            a = (np.arange(int(np.prod(shape))) % 120).astype(np.dtype(dtype).newbyteorder(order)).reshape(shape)
            key = f"{dtype.replace('?', 'b')}{'le' if order == '<' else 'be'}/{'x'.join(map(str, shape))}"
            arrays[key] = a
            if len(shape) > 1:
                arrays[key + "F"] = np.asfortranarray(a)
arrays["large"] = np.asfortranarray(np.random.default_rng(0).standard_normal((1000, 700)))
arrays["text"] = np.array(["a", "bc"])
arrays["bytes"] = np.array([b"a", b"bc"])
arrays["record"] = np.zeros(3, [("a", "i4"), ("b", "f8")])
arrays["time"] = np.array(["2020-01-01"], "M8[D]")
arrays["objects"] = np.array([{}, None], dtype=object)
np.savez(os.path.join(dir, "stored.npz"), **arrays)
np.savez_compressed(os.path.join(dir, "deflated.npz"), **arrays)
for i, a in enumerate(arrays.values()):
    np.save(os.path.join(dir, f"{i}.npy"), a)

files = glob.glob(os.path.join(dir, "*"))
packages = [np]
try:
    import scipy
    packages.append(scipy)
except ImportError:
    pass
for package in packages:
    for ext in ("npz", "npy"):
        files += glob.glob(os.path.join(os.path.dirname(package.__file__), "**", "*." + ext), recursive=True)

def tensor(load):
    try:
        a = load()
    except ValueError:  # a pickle, in a file that NumPy does not load either
        return None
    if a.dtype.kind not in "?biufc" or a.dtype.itemsize > (16 if a.dtype.kind == "c" else 8):
        return None
    a = np.asarray(a, a.dtype.newbyteorder("<"))  # the same numbers
    return {"shape": list(a.shape), "descr": np.lib.format.dtype_to_descr(a.dtype), "sha256": hashlib.sha256(a.tobytes("C")).hexdigest()}

out = {}
for file in files:
    if file.endswith(".npz"):
        with np.load(file) as archive:
            out[file] = {name: tensor(lambda: archive[name]) for name in archive.files}
    else:
        name = os.path.basename(file).removesuffix(".npy")
        out[file] = {name: tensor(lambda: np.load(file))}
json.dump(out, sys.stdout)
`

// TestPython reads what NumPy reads: the same names, types, shapes and bytes, and
// what is no tensor is a finding. NumPy writes the members' sizes as zip64 does.
func TestPython(t *testing.T) {
	out, err := exec.Command(pythontest.Find(t, "numpy"), "-c", listing, t.TempDir()).Output()
	if err != nil {
		var exit *exec.ExitError
		errors.As(err, &exit)
		t.Fatalf("%v: %s", err, exit.Stderr)
	}
	type array struct {
		Shape         []int64
		Descr, SHA256 string
	}
	var files map[string]map[string]*array
	if err := json.Unmarshal(out, &files); err != nil {
		t.Fatal(err)
	}
	archives := 0
	for file, want := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		read, r := npy.Parse, bytes.NewReader(content)
		if strings.HasSuffix(file, ".npz") {
			read = Parse
			archives++
		}
		for name, w := range want {
			if w == nil {
				delete(want, name)
			}
		}
		ix, err := read(file, r, int64(len(content)))
		if len(want) == 0 {
			if err == nil {
				t.Errorf("%s has no tensor: %+v", file, ix)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		for _, got := range ix.Tensors {
			w := want[got.Name]
			if w == nil {
				t.Errorf("%s: NumPy has no %q", path.Base(file), got.Name)
				continue
			}
			delete(want, got.Name)
			data, err := bytesOf(&got, r)
			sum := sha256.Sum256(data)
			if err != nil || !slices.Equal(got.Shape, w.Shape) || got.DType.NumPy() != w.Descr || hex.EncodeToString(sum[:]) != w.SHA256 {
				t.Errorf("%s: %+v, %v, NumPy reads %+v", path.Base(file), got, err, w)
			}
		}
		for name := range want {
			t.Errorf("%s: no %q", path.Base(file), name)
		}
	}
	t.Logf("%d files, %d of them archives", len(files), archives)
	if archives < 2 {
		t.Error("too few archives")
	}
}

// bytesOf are a tensor's, contiguous.
func bytesOf(t *tensors.Tensor, r io.ReaderAt) ([]byte, error) {
	dst := make([]byte, t.NBytes)
	if t.Maker != nil {
		return dst, t.Maker.Make(context.Background(), r, dst)
	}
	return dst, tensors.Gather(context.Background(), dst, r, t)
}
