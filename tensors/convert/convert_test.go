// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/internal/pythontest"
	"github.com/modelfs/modelfs/tensors"
)

var update = flag.Bool("update", false, "have the reference libraries write testdata/*.bin")

// TestGolden compares with what the reference libraries gave. A file has the source,
// then its conversions.
func TestGolden(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	for _, src := range Sources() {
		b, err := os.ReadFile(filepath.Join("testdata", src.String()+".bin"))
		if err != nil {
			t.Fatal(err)
		}
		elements, width := src.Block()
		each := width
		for _, dst := range oracled(src) {
			_, n := dst.Block()
			each += elements * n
		}
		n := int64(len(b)) / each
		if n == 0 || n*each != int64(len(b)) {
			t.Fatalf("%s: %d bytes", src, len(b))
		}
		in, rest := b[:n*width], b[n*width:]
		for _, dst := range oracled(src) {
			_, w := dst.Block()
			compare(t, src, dst, in, rest[:n*elements*w])
			rest = rest[n*elements*w:]
		}
	}
}

// writeGolden keeps a few elements of all kinds.
func writeGolden(t *testing.T) {
	dir := t.TempDir()
	inputs := make(map[tensors.DType][]byte)
	for _, src := range Sources() {
		in := samples(src)
		keep := int64(512)
		if elements, _ := src.Block(); elements > 1 {
			keep = 2048 / elements
		}
		_, width := src.Block()
		if all := int64(len(in)) / width; all > keep {
			r := rand.New(rand.NewPCG(uint64(src), 1))
			var some []byte
			for i := range keep {
				at := i // the special ones are first
				if i >= keep/2 {
					at = r.Int64N(all)
				}
				some = append(some, in[at*width:(at+1)*width]...)
			}
			in = some
		}
		inputs[src] = in
	}
	made := oracle(t, dir, inputs)
	for src, in := range inputs {
		for _, dst := range oracled(src) {
			in = append(in, made[src][dst]...)
		}
		if err := os.WriteFile(filepath.Join("testdata", src.String()+".bin"), in, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTorch compares all 2^8 and 2^16 values of the small types, and a million and
// more of the others, with torch.
func TestTorch(t *testing.T) { withOracle(t, false) }

// TestGGUF compares blocks of random bytes, scales of every kind among them, with
// gguf.quants.
func TestGGUF(t *testing.T) { withOracle(t, true) }

func withOracle(t *testing.T, blocks bool) {
	inputs := make(map[tensors.DType][]byte)
	for _, src := range Sources() {
		if src.IsBlock() == blocks {
			inputs[src] = samples(src)
		}
	}
	made := oracle(t, t.TempDir(), inputs)
	for src, in := range inputs {
		for _, dst := range oracled(src) {
			compare(t, src, dst, in, made[src][dst])
		}
	}
}

// oracled are the targets that the oracle has: gguf gives F32 only, the rest is F32
// rounded.
func oracled(src tensors.DType) []tensors.DType {
	if src.IsBlock() {
		return []tensors.DType{tensors.F32}
	}
	return Targets()
}

// oracle has Python convert.
func oracle(t *testing.T, dir string, inputs map[tensors.DType][]byte) map[tensors.DType]map[tensors.DType][]byte {
	t.Helper()
	module := "gguf"
	for src, in := range inputs {
		if !src.IsBlock() {
			module = "torch"
		}
		if err := os.WriteFile(filepath.Join(dir, src.String()+".in"), in, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := exec.Command(pythontest.Find(t, module), "testdata/oracle.py", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	made := make(map[tensors.DType]map[tensors.DType][]byte)
	for src := range inputs {
		made[src] = make(map[tensors.DType][]byte)
		for _, dst := range oracled(src) {
			b, err := os.ReadFile(filepath.Join(dir, src.String()+"."+dst.String()))
			if err != nil {
				t.Fatal(err)
			}
			made[src][dst] = b
		}
	}
	return made
}

// compare holds a conversion to the bits that are wanted, at every length and place
// that the loops tell apart.
func compare(t *testing.T, src, dst tensors.DType, in, want []byte) {
	t.Helper()
	f, ok := From(src, dst)
	if !ok {
		t.Errorf("%s to %s: none", src, dst)
		return
	}
	got := make([]byte, len(want))
	f(got, in)
	elements, width := src.Block()
	_, out := dst.Block()
	if bad := differing(src, dst, got, want); bad >= 0 {
		block := int64(bad) / elements * width
		t.Errorf("%s to %s: element %d of the block %x is %x, want %x", src, dst, int64(bad)%elements,
			in[block:block+width], got[bad*int(out):][:out], want[bad*int(out):][:out])
	}
	for n := range min(70, int64(len(in))/width) {
		for from := range min(3, int64(len(in))/width-n+1) {
			part := make([]byte, n*elements*out)
			f(part, in[from*width:(from+n)*width])
			if whole := got[from*elements*out:][:len(part)]; !bytes.Equal(part, whole) {
				t.Errorf("%s to %s: %d from %d on are %x, in one piece %x", src, dst, n, from, part, whole)
				return
			}
		}
	}
}

// differing is the first element that differs, or -1.
func differing(src, dst tensors.DType, got, want []byte) int {
	if len(got) != len(want) {
		return 0
	}
	_, w := dst.Block()
	for i := range len(got) / int(w) {
		g, v := got[i*int(w):][:w], want[i*int(w):][:w]
		if !bytes.Equal(g, v) && !(looseNaN(src, dst) && isNaN(dst, g) && isNaN(dst, v)) {
			return i
		}
	}
	return -1
}

// looseNaN says for which pairs the reference has no one answer for NaN: torch's
// depends on the processor, on the place in the tensor, or both. Ours are in
// TestNaN.
func looseNaN(src, dst tensors.DType) bool {
	switch {
	case src.IsBlock():
		return true
	case dst == tensors.F32:
		return src == tensors.F16
	case dst == tensors.F16:
		return src == tensors.BF16 || src == tensors.F64 || src == tensors.F8E4M3 || src == tensors.F8E5M2
	}
	return src == tensors.F32 || src == tensors.F64
}

func isNaN(d tensors.DType, b []byte) bool {
	switch d {
	case tensors.F16:
		return le.Uint16(b)&0x7fff > 0x7c00
	case tensors.BF16:
		return le.Uint16(b)&0x7fff > 0x7f80
	}
	return le.Uint32(b)&0x7fffffff > 0x7f800000
}

// samples are elements of a type: all of them if there are 2^16 at the most, else
// special ones, then random ones.
func samples(d tensors.DType) []byte {
	r := rand.New(rand.NewPCG(uint64(d), 0))
	if d.IsBlock() {
		return sampleBlocks(d, r)
	}
	_, width := d.Block()
	var b []byte
	switch {
	case d == tensors.BOOL:
		return []byte{0, 1, 1, 0, 1}
	case width == 1:
		for i := range 1 << 8 {
			b = append(b, byte(i))
		}
	case width == 2:
		for i := range 1 << 16 {
			b = le.AppendUint16(b, uint16(i*40503)) // odd: each comes once, in no order
		}
	case width == 4:
		for _, x := range sampleF32(r) {
			b = le.AppendUint32(b, x)
		}
	case d == tensors.F64:
		for _, x := range sampleF32(r) {
			b = le.AppendUint64(b, math.Float64bits(float64(float(x)))^uint64(r.IntN(3))*uint64(r.IntN(2)))
		}
		for range 1 << 18 {
			b = le.AppendUint64(b, r.Uint64())
		}
		for range 1 << 18 {
			b = le.AppendUint64(b, math.Float64bits(r.NormFloat64()*math.Ldexp(1, r.IntN(300)-150)))
		}
	default:
		for i := range 64 { // about every power of two, and halfway to what an F32 can have
			for _, x := range []uint64{0, 1, 1 << i >> 24, 1<<i>>24 + 1, 1 << i >> 25, 1<<i>>24 - 1, 3 << i >> 25, 1 << i >> 9, 1<<i>>9 + 1} {
				b = le.AppendUint64(b, 1<<i+x)
				b = le.AppendUint64(b, -(1<<i + x))
			}
		}
		for range 1 << 18 {
			b = le.AppendUint64(b, r.Uint64()>>r.IntN(64))
		}
	}
	return b
}

// sampleF32 has NaNs, infinities, zeros, every exponent, all halfway cases of F16 and
// BF16 and their neighbours, and a million random ones. Their bits serve as integers
// too.
func sampleF32(r *rand.Rand) []uint32 {
	var all []uint32
	for e := range uint32(256) {
		for _, m := range []uint32{0, 1, 0x7fffff, 0x400000, 0x3fffff, 0x400001, 0x1000, 0x1001, 0x3000, 0x8000, 0x8001, 0x18000} {
			all = append(all, e<<23|m, 1<<31|e<<23|m)
		}
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for h := range uint32(1 << 16) {
		mid := h<<16 | 0x8000
		all = append(all, mid-1, mid, mid+1)
		if h&0x7c00 < 0x7c00 {
			low := widenHalf(uint16(h))
			next := widenHalf(uint16(h) + 1)
			mid := bits((float(low) + float(next)) / 2)
			all = append(all, mid-1, mid, mid+1)
		}
	}
	for range 1 << 20 {
		all = append(all, r.Uint32())
	}
	return all
}

// sampleBlocks are random bytes. So every 32nd scale in F16 is subnormal, every 32nd
// no finite number; the others would make most of them overflow, so half of the
// blocks have usual scales.
func sampleBlocks(d tensors.DType, r *rand.Rand) []byte {
	elements, width := d.Block()
	scales := map[tensors.DType][]int{
		tensors.Q4_1: {0, 2}, tensors.Q5_1: {0, 2}, tensors.Q2_K: {80, 82}, tensors.Q3_K: {108}, tensors.Q4_K: {0, 2}, tensors.Q5_K: {0, 2},
		tensors.Q6_K: {208}, tensors.TQ1_0: {52}, tensors.TQ2_0: {64}, tensors.MXFP4: nil, tensors.NVFP4: nil,
	}
	at, ok := scales[d]
	if !ok {
		at = []int{0}
	}
	special := []uint16{0, 0x8000, 1, 0x8001, 0x3ff, 0x400, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0x3c00}
	var all []byte
	for i := range 1 << 19 / int(elements) {
		b := make([]byte, width)
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		for _, j := range at {
			switch {
			case i < 24:
				le.PutUint16(b[j:], special[(i+j)%len(special)])
			case i%2 == 0:
				le.PutUint16(b[j:], halfOf(bits(float32(r.NormFloat64()*0.01))))
			}
		}
		all = append(all, b...)
	}
	return all
}

// TestBlocksNarrow: from a block type, F16 and BF16 are F32 rounded.
func TestBlocksNarrow(t *testing.T) {
	for _, src := range Sources() {
		if !src.IsBlock() {
			continue
		}
		in := samples(src)
		elements, width := src.Block()
		in = in[:int64(len(in))/4/width*width]
		wide, _ := From(src, tensors.F32)
		all := make([]byte, int64(len(in))/width*elements*4)
		wide(all, in)
		for _, dst := range []tensors.DType{tensors.F16, tensors.BF16} {
			narrow, _ := From(tensors.F32, dst)
			want := make([]byte, len(all)/2)
			narrow(want, all)
			compare(t, src, dst, in, want)
		}
	}
}

func TestNaN(t *testing.T) {
	// repeated is a number in every place that the loops tell apart, beside zeros too.
	repeated := func(d tensors.DType, x uint64) []byte {
		_, n := d.Block()
		one := le.AppendUint64(nil, x)[:n]
		zero := make([]byte, n)
		return slices.Concat(bytes.Repeat(one, 33), bytes.Repeat(slices.Concat(one, zero), 16), bytes.Repeat(slices.Concat(zero, one), 16))
	}
	for _, c := range []struct {
		src, dst tensors.DType
		in, want uint64
	}{
		{tensors.F16, tensors.F32, 0x7c01, 0x7fc02000},
		{tensors.F16, tensors.F32, 0xfd23, 0xffe46000},
		{tensors.F16, tensors.BF16, 0xfd23, 0x7fc0},
		{tensors.BF16, tensors.F32, 0xff81, 0xff810000},
		{tensors.BF16, tensors.F16, 0xff81, 0xfe08},
		{tensors.F32, tensors.F16, 0x7f800001, 0x7e00},
		{tensors.F32, tensors.F16, 0xffe54321, 0xff2a},
		{tensors.F32, tensors.BF16, 0xffe54321, 0x7fc0},
		{tensors.F32, tensors.BF16, 0x7fffffff, 0x7fc0},
		{tensors.F32, tensors.BF16, 0x7f800001, 0x7fc0},
		{tensors.F32, tensors.BF16, 0x7f800000, 0x7f80},
		{tensors.F64, tensors.F32, 0xfff123456789abcd, 0xffc91a2b},
		{tensors.F64, tensors.F16, 0xfff123456789abcd, 0xfe48},
		{tensors.F64, tensors.BF16, 0xfff123456789abcd, 0x7fc0},
		{tensors.F8E4M3, tensors.F32, 0xff, 0xfff00000},
		{tensors.F8E4M3, tensors.F16, 0xff, 0xff80},
		{tensors.F8E5M2, tensors.F32, 0xfd, 0xffe00000},
		{tensors.F8E5M2, tensors.F16, 0xfe, 0xfe00},
		{tensors.F8E8M0, tensors.F32, 0xff, 0x7f800001},
		{tensors.F8E4M3FNUZ, tensors.F16, 0x80, 0x7e00},
		{tensors.F8E5M2FNUZ, tensors.BF16, 0x80, 0x7fc0},
	} {
		f, _ := From(c.src, c.dst)
		in := repeated(c.src, c.in)
		want := repeated(c.dst, c.want)
		if c.src == tensors.F8E8M0 { // has no zero
			in, want = in[:33], want[:33*4]
		}
		got := make([]byte, len(want))
		f(got, in)
		if !bytes.Equal(got, want) {
			t.Errorf("%s to %s: %x gives %x, want %x", c.src, c.dst, c.in, got, c.want)
		}
	}
}

func TestFrom(t *testing.T) {
	all := make(map[tensors.DType]bool)
	for _, d := range Sources() {
		all[d] = true
	}
	for _, src := range tensors.DTypes() {
		for _, dst := range tensors.DTypes() {
			target := dst == tensors.F32 || dst == tensors.F16 || dst == tensors.BF16
			f, ok := From(src, dst)
			if ok != (all[src] && target) || (f != nil) != ok {
				t.Errorf("%s to %s: %v", src, dst, ok)
			}
		}
	}
	for _, d := range []tensors.DType{0, tensors.C64, tensors.C128, tensors.F4, tensors.F6E2M3, tensors.Q8_1, tensors.Q8_K, tensors.IQ1_S} {
		if all[d] {
			t.Errorf("%s", d)
		}
	}
	if len(all) != 34 {
		t.Errorf("%d types: %v", len(all), Sources())
	}
}

// TestBool: any byte but zero is true.
func TestBool(t *testing.T) {
	f, _ := From(tensors.BOOL, tensors.F32)
	got := make([]byte, 8)
	f(got, []byte{0x80, 0})
	if want := []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0}; !bytes.Equal(got, want) {
		t.Errorf("%x", got)
	}
}

func TestWrongLength(t *testing.T) {
	for _, c := range []struct {
		src      tensors.DType
		dst, len int
	}{{tensors.F16, 8, 3}, {tensors.F16, 7, 4}, {tensors.F16, 12, 4}, {tensors.Q4_K, 1024, 143}, {tensors.Q4_K, 1020, 144}, {tensors.F32, 4, 0}} {
		f, _ := From(c.src, tensors.F32)
		func() {
			defer func() {
				if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "do not make") {
					t.Errorf("%+v: %v", c, p)
				}
			}()
			f(make([]byte, c.dst), make([]byte, c.len))
		}()
	}
}
