// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tensors

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/internal/pythontest"
)

var npyCases = []struct {
	dtype DType
	shape []int64
	descr string
	shown string // the shape as Python writes it
}{
	{F32, nil, "<f4", "()"},
	{F32, []int64{0}, "<f4", "(0,)"},
	{F32, []int64{7}, "<f4", "(7,)"},
	{F32, []int64{512, 8, 3}, "<f4", "(512, 8, 3)"},
	{F32, []int64{2, 0, 3}, "<f4", "(2, 0, 3)"},
	{BF16, []int64{2, 3}, "<V2", "(2, 3)"},
	{F8E4M3, []int64{5}, "|V1", "(5,)"},
	{BOOL, []int64{2}, "|b1", "(2,)"},
	{C128, []int64{2}, "<c16", "(2,)"},
	{Q4_0, []int64{32}, "|u1", "(18,)"},
	{Q4_K, []int64{3, 512}, "|u1", "(3, 288)"},
	{Q4_K, []int64{3, 0}, "|u1", "(3, 0)"},
	{NVFP4, []int64{2, 3, 64}, "|u1", "(2, 3, 36)"},
	{F4, []int64{3, 4}, "|u1", "(3, 2)"},
	{F4, []int64{4, 3}, "|u1", "(6,)"}, // rows share bytes
	{I4, []int64{2, 6}, "|u1", "(2, 3)"},
	{U4, []int64{1, 3, 2}, "|u1", "(1, 3, 1)"},
	{F6E2M3, []int64{2, 2}, "|u1", "(3,)"},
}

// npyDict is the header's text.
var npyDict = regexp.MustCompile(`^\{'descr': '([^']*)', 'fortran_order': False, 'shape': (\([0-9, ]*\)), \} *\n$`)

func TestNPYHeader(t *testing.T) {
	for _, c := range npyCases {
		ts := sample(t, c.dtype, c.shape)
		h, err := NPYHeader(&ts)
		if err != nil {
			t.Fatal(err)
		}
		if len(h) != NPYHeaderSize || string(h[:8]) != "\x93NUMPY\x01\x00" || int(binary.LittleEndian.Uint16(h[8:])) != len(h)-10 {
			t.Errorf("%s %v: %d bytes beginning %q", c.dtype, c.shape, len(h), h[:10])
		}
		m := npyDict.FindStringSubmatch(string(h[10:]))
		if len(m) < 3 || m[1] != c.descr || m[2] != c.shown {
			t.Errorf("%s %v: %q, want %s %s", c.dtype, c.shape, strings.TrimSpace(string(h[10:])), c.descr, c.shown)
			continue
		}
		checkNPYSize(t, &ts, m[1], m[2])
	}
}

// checkNPYSize: what the header promises is what follows it.
func checkNPYSize(t *testing.T, ts *Tensor, descr, shape string) {
	t.Helper()
	n, err := strconv.ParseInt(descr[2:], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	for dim := range strings.FieldsFuncSeq(shape, func(r rune) bool { return strings.ContainsRune("(), ", r) }) {
		x, err := strconv.ParseInt(dim, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		n *= x
	}
	if n != ts.NBytes {
		t.Errorf("%s %v: the header promises %d bytes, there are %d", ts.DType, ts.Shape, n, ts.NBytes)
	}
}

func sample(t *testing.T, d DType, shape []int64) Tensor {
	t.Helper()
	n, err := d.NBytes(shape)
	if err != nil {
		t.Fatal(err)
	}
	return Tensor{Name: "x", DType: d, Shape: shape, NBytes: n}
}

func TestNPYHeaderOfManyDimensions(t *testing.T) {
	for _, c := range []struct {
		dims, want int // bytes; 0: an error
	}{{1000, NPYHeaderSize}, {2000, 2 * NPYHeaderSize}, {20_000, 15 * NPYHeaderSize}, {30_000, 0}} {
		ts := Tensor{DType: U8, Shape: slices.Repeat([]int64{1}, c.dims), NBytes: 1}
		h, err := NPYHeader(&ts)
		if len(h) != c.want || (err != nil) != (c.want == 0) {
			t.Errorf("%d dimensions: %d bytes, %v", c.dims, len(h), err)
		}
	}
}

// TestNPYWithNumPy has NumPy read what the mount shows.
func TestNPYWithNumPy(t *testing.T) {
	python := pythontest.Find(t, "numpy")
	dir := t.TempDir()
	for i, c := range npyCases {
		ts := sample(t, c.dtype, c.shape)
		h, err := NPYHeader(&ts)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, ts.NBytes)
		for i := range data {
			data[i] = byte(i) & 1 // also for bool
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.npy", i)), append(h, data...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const script = `
import json, os, sys, numpy
out = []
for name in sorted(os.listdir(sys.argv[1])):
    path = os.path.join(sys.argv[1], name)
    a = numpy.load(path)
    offset = 4096
    if a.size:
        m = numpy.load(path, mmap_mode="r")
        assert m.tobytes() == a.tobytes()
        offset = m.offset
    raw = open(path, "rb").read()[4096:]
    out.append({"descr": numpy.lib.format.dtype_to_descr(a.dtype), "shape": str(a.shape), "offset": offset,
                "same": a.tobytes() == raw, "c": bool(a.flags.c_contiguous)})
print(json.dumps(out))
`
	text, err := exec.Command(python, "-c", script, dir).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var got []struct {
		Descr, Shape string
		Offset       int
		Same, C      bool
	}
	if err := json.Unmarshal(text, &got); err != nil || len(got) != len(npyCases) {
		t.Fatalf("%d results, %v", len(got), err)
	}
	for i, c := range npyCases {
		descr := strings.Replace(c.descr, "<V", "|V", 1) // NumPy's own spelling
		if g := got[i]; g.Descr != descr || g.Shape != c.shown || !g.Same || !g.C || g.Offset != NPYHeaderSize {
			t.Errorf("%s %v: NumPy reads %+v", c.dtype, c.shape, g)
		}
	}
}
