// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package ggml

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/tensors"
)

func tensorAt(name string, d tensors.DType, at, n int64, shape ...int64) tensors.Tensor {
	return tensors.Tensor{Name: name, DType: d, Shape: append([]int64{}, shape...), NBytes: n, File: fileName, Offset: at}
}

func TestParse(t *testing.T) {
	w, p, s := int64(len(whisper(1).b)), int64(len(parakeet(1).b)), int64(len(silero().b))
	for name, c := range map[string]struct {
		file *writer
		want []tensors.Tensor
	}{
		"no tensors":       {whisper(1), nil},
		"scalar":           {whisper(0).tensor("a", 0, 4), []tensors.Tensor{tensorAt("a", tensors.F32, w+13, 4)}},
		"outermost first":  {whisper(1).tensor("abc", 1, 240, 2, 3, 4, 5), []tensors.Tensor{tensorAt("abc", tensors.F16, w+31, 240, 5, 4, 3, 2)}},
		"a dimension of 0": {whisper(1).tensor("", 1, 0, 2, 0).tensor("b", 0, 4, 1), []tensors.Tensor{tensorAt("", tensors.F16, w+20, 0, 0, 2), tensorAt("b", tensors.F32, w+37, 4, 1)}},
		"at odd bytes": {whisper(1).tensor("a", 1, 2, 1).tensor("bb", 0, 4, 1), []tensors.Tensor{
			tensorAt("a", tensors.F16, w+17, 2, 1), tensorAt("bb", tensors.F32, w+37, 4, 1),
		}},
		"names as written": {whisper(1).tensor("../\x00\xff", 0, 0, 0), []tensors.Tensor{tensorAt("../\x00\xff", tensors.F32, w+21, 0, 0)}},
		"quantised":        {whisper(2002).tensor("a", 2, 36, 32, 2).tensor("b", 14, 210, 256), []tensors.Tensor{tensorAt("a", tensors.Q4_0, w+21, 36, 2, 32), tensorAt("b", tensors.Q6_K, w+74, 210, 256)}},
		"version 1, Q5":    {whisper(1008).tensor("a", 6, 22, 32).tensor("b", 7, 24, 32), []tensors.Tensor{tensorAt("a", tensors.Q5_0, w+17, 22, 32), tensorAt("b", tensors.Q5_1, w+56, 24, 32)}},
		"version 9, plain": {whisper(9001).tensor("a", 30, 4, 2), []tensors.Tensor{tensorAt("a", tensors.BF16, w+17, 4, 2)}},
		"Parakeet":         {parakeet(2008).tensor("a", 6, 22, 32), []tensors.Tensor{tensorAt("a", tensors.Q5_0, p+17, 22, 32)}},
		"Silero":           {silero().tensor("a", 1, 8, 4).tensor("b", 0, 4, 1), []tensors.Tensor{tensorAt("a", tensors.F16, s+17, 8, 4), tensorAt("b", tensors.F32, s+42, 4, 1)}},
	} {
		t.Run(name, func(t *testing.T) {
			size := int64(len(c.file.b))
			ix, err := parse.Look(t, c.file.b, size)
			if err != nil {
				t.Fatal(err)
			}
			check(t, ix, size)
			if !reflect.DeepEqual(ix.Tensors, c.want) {
				t.Errorf("%+v\nwant %+v", ix.Tensors, c.want)
			}
		})
	}
}

func TestMalformed(t *testing.T) {
	unknown := "its layout is unknown: only whisper.cpp's for Whisper, Silero and Parakeet are read; convert other models to GGUF"
	const versions = " of the quantisation, which is not read: quantise the model again"
	both := start().u32(0, 0, 0, 0, 0, 7, 0, 0, 8, 7, 0, 7, 1, 1, 1, 7, 1).raw(make([]byte, 99)...)
	for name, c := range map[string]struct {
		file *writer
		msg  string
	}{
		"empty":                  {&writer{}, "4 bytes are needed, 0 are left"},
		"three bytes":            {(&writer{}).raw(1, 2, 3), "4 bytes are needed, 3 are left"},
		"magic":                  {(&writer{}).u32(0x12345678), "it begins with 0x12345678 instead of 0x67676d6c"},
		"magic reversed":         {(&writer{}).raw([]byte("ggml")...), "it begins with 0x6c6d6767 instead of 0x67676d6c"},
		"GGUF":                   {(&writer{}).raw([]byte("GGUF")...), "it begins with 0x46554747 instead of 0x67676d6c"},
		"GGMF":                   {(&writer{}).u32(0x67676d66, 1), "it is GGMF, llama.cpp's format of March 2023, which is not read: convert it to GGUF with llama.cpp"},
		"GGJT":                   {(&writer{}).u32(0x67676a74, 3), "it is GGJT, llama.cpp's format before GGUF, which is not read: convert it to GGUF with llama.cpp"},
		"GGLA":                   {(&writer{}).u32(0x67676c61, 1), "it is GGLA, llama.cpp's format of LoRA adapters before GGUF, which is not read: convert it to GGUF with llama.cpp"},
		"short":                  {start().at(4).u32(1, 2, 3), "a length of 68, 12 bytes are left"},
		"GPT-2":                  {start().u32(50257, 1024, 768, 12, 12, 1, 50257).text("!").at(4).raw(make([]byte, 99)...), unknown},
		"zeros":                  {start().at(4).raw(make([]byte, 99)...), unknown},
		"two layouts":            {both.at(4), unknown},
		"another text":           {start().at(4).text("pyannote-3").raw(make([]byte, 99)...), unknown},
		"filters of others":      {whisper(1).set(9, 80).at(4), unknown},
		"Whisper, a number < 0":  {whisper(1).set(2, 1<<31), "n_audio_state is -2147483648, below 0"},
		"Whisper, type":          {whisper(1).set(10, 2029), "the file is of the unknown type 2029"},
		"Whisper, type 5":        {whisper(1).set(10, 5), "the file is of the unknown type 5"},
		"Whisper, type < 0":      {whisper(1).set(10, 1<<32-1), "the file's type is -1, below 0"},
		"Whisper, n_fft 0":       {whisper(1).set(12, 0), "the size of a mel filter is 0, below 1"},
		"Whisper, n_fft < 0":     {whisper(1).set(12, 1<<32-201), "the size of a mel filter is -201, below 1"},
		"Whisper, n_fft 2^31":    {whisper(1).set(12, 1<<31-1).at(56), fmt.Sprintf("3 by 2147483647 mel filters do not fit into the %d bytes that are left", len(whisper(1).b)-56)},
		"Whisper, tokens < 0":    {whisper(1).set(19, 1<<31), "the number of tokens is -2147483648, below 0"},
		"Whisper, tokens 2^31":   {whisper(1).set(19, 1<<31-1), "2147483647 tokens, over the limit of 262144"},
		"Whisper, tokens":        {whisper(1).set(19, 7), "7 tokens do not fit into the 23 bytes that are left"},
		"Whisper, a token":       {whisper(1).set(20, 20).at(88), "a length of 20, 19 bytes are left"},
		"Whisper, a long token":  {whisper(1).set(20, 1025), "a text of 1025 bytes, over the limit of 1024"},
		"Whisper, cut off":       {start().u32(99, 1500, 8, 2, 1, 448, 8, 2, 1, 3, 1).u32(3, 2).raw(make([]byte, 24)...).here().raw(0, 0), "4 bytes are needed, 2 are left"},
		"Parakeet, n_fft 0":      {parakeet(1).set(16, 1).set(7, 0), "n_fft is 0, below 1"},
		"Parakeet, bins":         {parakeet(1).set(16, 4).at(4), unknown},
		"Parakeet, n_mels 0":     {parakeet(1).set(5, 0).set(15, 0).at(4), unknown},
		"Parakeet, channels < 0": {parakeet(1).set(9, 1<<31), "n_subsampling_channels is -2147483648, below 1"},
		"Parakeet, durations":    {parakeet(1).set(13, 1<<31-1).at(128), "a length of 8589934588, 26 bytes are left"},
		"Parakeet, no tokens":    {parakeet(1).set(14, 0), "n_max_tokens is 0, below 1"},
		"Parakeet, window":       {parakeet(1).set(26, 1<<31-1).at(112), "a length of 8589934588, 42 bytes are left"},
		"Parakeet, type":         {parakeet(1).set(6, 6), "the file is of the unknown type 6"},
		"Silero, a long type":    {silero().set(0, 65), "a text of 65 bytes, over the limit of 64"},
		"Silero, layers":         {start().text("silero-16k").u32(6, 2, 0, 512, 64).here().u32(1025).raw(make([]byte, 99)...), "1025 layers, over the limit of 1024"},
		"Silero, layers cut off": {start().text("silero-16k").u32(6, 2, 0, 512, 64, 9).raw(make([]byte, 100)...).here(), "4 bytes are needed, 0 are left"},
		"header cut off":         {whisper(1).u32(1, 1).here().raw(0), "4 bytes are needed, 1 are left"},
		"dimensions cut off":     {whisper(1).u32(4, 1, 0, 1, 1, 1).here(), "4 bytes are needed, 0 are left"},
		"dimensions":             {whisper(1).here().header("a", 0, 1, 1, 1, 1, 1).raw(0, 0, 0, 0), "a tensor with 5 dimensions, over the limit of 4"},
		"dimensions < 0":         {whisper(1).here().u32(1<<32-1, 1, 0), "a tensor with 4294967295 dimensions, over the limit of 4"},
		"a dimension < 0":        {whisper(1).u32(1, 1, 0).here().u32(1<<32 - 8).raw(make([]byte, 99)...), "a dimension is -8, below 0"},
		"a name cut off":         {whisper(1).u32(0, 3, 0).here().raw(1, 2), "a length of 3, 2 bytes are left"},
		"a name of 2^31":         {whisper(1).u32(0, 1<<31, 0).here().raw(1, 2), "a length of 2147483648 is over the limit of 1024"},
		"twice":                  {whisper(1).tensor("a", 0, 4).here().tensor("a", 0, 4), `the tensor "a" is there twice`},
		"type":                   {whisper(1).here().tensor("a", 43, 4), `the tensor "a" is of the unknown type 43`},
		"a removed type":         {whisper(1).here().tensor("a", 4, 4), `the tensor "a" is of the unknown type 4`},
		"product 2^64":           {whisper(1).here().tensor("a", 0, 4, 1<<31-1, 1<<31-1, 1<<31-1), `the tensor "a": [2147483647 2147483647 2147483647] has over 63 bits of elements: shape does not fit its dtype`},
		"bytes 2^63":             {whisper(1).here().tensor("a", 28, 4, 1<<31-1, 1<<31-1), `the tensor "a": [2147483647 2147483647] of F64 is over 63 bits of bytes: shape does not fit its dtype`},
		"a byte missing":         {whisper(1).here().tensor("a", 0, 7, 2), `the tensor "a" of 8 bytes begins at byte 124, 7 bytes are left`},
		"bytes behind":           {whisper(1).tensor("a", 0, 8, 2).here().raw(1), "4 bytes are needed, 1 are left"},
		"no whole blocks":        {whisper(2002).here().tensor("a", 2, 18, 16, 2), `the tensor "a": [2 16] is no whole number of Q4_0 blocks of 32: shape does not fit its dtype`},
		"version 0, Q5":          {whisper(8).here().tensor("a", 6, 22, 32), `the tensor "a" has Q5_0 blocks of version 0` + versions},
		"version 1, Q4":          {whisper(1002).here().tensor("a", 2, 18, 32), `the tensor "a" has Q4_0 blocks of version 1` + versions},
		"version 1, Q8":          {whisper(1007).here().tensor("a", 8, 34, 32), `the tensor "a" has Q8_0 blocks of version 1` + versions},
		"version 1, Q6_K":        {whisper(1014).here().tensor("a", 14, 210, 256), `the tensor "a" has Q6_K blocks of version 1` + versions},
		"version 3":              {whisper(3008).here().tensor("a", 6, 22, 32), `the tensor "a" has Q5_0 blocks of version 3` + versions},
		"Silero, quantised":      {silero().here().tensor("a", 6, 22, 32), `the tensor "a" has Q5_0 blocks of version 0` + versions},
	} {
		t.Run(name, func(t *testing.T) {
			parse.Refuses(t, c.file.b, int64(len(c.file.b)), c.file.mark, c.msg)
		})
	}
}

// TestCut: there is no count of tensors, so a file that is cut off between two has
// fewer; anywhere else it is refused.
func TestCut(t *testing.T) {
	w := sound()
	for n := range w.b {
		ix, err := parse.Look(t, w.b[:n], int64(n))
		if want := slices.Index(w.ends, int64(n)); (err == nil) != (want >= 0) {
			t.Errorf("the first %d of %d bytes: %v", n, len(w.b), err)
		} else if err == nil && len(ix.Tensors) != want {
			t.Errorf("the first %d bytes have %d tensors, want %d", n, len(ix.Tensors), want)
		}
		// The end is lost while it is read: that shows where there is a header.
		if _, err := parse(bytes.NewReader(w.b[:n]), int64(len(w.b))); err == nil && int64(n) < w.ends[0] {
			t.Errorf("what is before the tensors ends after %d bytes, and is taken", n)
		}
	}
}

func TestDamaged(t *testing.T) {
	for _, w := range []*writer{sound(), parakeet(1).tensor("a", 0, 4), silero().tensor("a", 0, 4)} {
		parse.Flip(t, w.b, len(w.b), func(ix *tensors.Index) { check(t, ix, int64(len(w.b))) })
		parse.Fail(t, w.b, len(w.b)-20)
		parse.Fail(t, w.b, 72)
	}
}

// TestMemory: what a header says costs nothing, only what it has. The files are
// sparse: large enough for what they say.
func TestMemory(t *testing.T) {
	for name, c := range map[string]struct {
		begin *writer
		size  int64
	}{
		"filters":        {whisper(1).set(12, 1<<31-1), 1 << 50},
		"tokens":         {whisper(1).set(19, maxTokens), 1 << 40},
		"empty tensors":  {whisper(1), 1 << 40},
		"a large tensor": {whisper(1).header("a", 0, 1<<31-1, 1<<20), int64(len(whisper(1).b)) + 21 + (1<<31-1)<<22},
		"a large name":   {whisper(1).u32(1, 1<<31-1, 0), 1 << 40},
	} {
		t.Run(name, func(t *testing.T) {
			ix, err := parse.Look(t, c.begin.b, c.size)
			if err == nil {
				check(t, ix, c.size)
			}
			if (err == nil) != (name == "a large tensor") {
				t.Error(err)
			}
		})
	}
}

// TestManyTensors: headers are read with little of the data around them, and there
// is a limit.
func TestManyTensors(t *testing.T) {
	w := whisper(1)
	for i := range maxTensors {
		w.tensor(fmt.Sprintf("%05x", i), 0, 0, 0)
	}
	size := int64(len(w.b))
	if ix, err := parse(bytes.NewReader(w.b), size); err != nil || len(ix.Tensors) != maxTensors {
		t.Fatal(err)
	}
	w.tensor("x", 0, 0, 0)
	_, err := parse(bytes.NewReader(w.b), int64(len(w.b)))
	if err == nil || !strings.HasSuffix(err.Error(), fmt.Sprintf("more than %d tensors", maxTensors)) {
		t.Error(err)
	}
}

type counting struct {
	bytes.Reader
	n int
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.n += len(p)
	return c.Reader.ReadAt(p, off)
}

func TestReadsNoData(t *testing.T) {
	w := whisper(1)
	const n = 100
	for i := range n {
		w.tensor(fmt.Sprintf("layer.%d.weight", i), 0, 1<<16, 1<<14)
	}
	r := &counting{Reader: *bytes.NewReader(w.b)}
	if ix, err := Parse(fileName, r, int64(len(w.b))); err != nil || len(ix.Tensors) != n {
		t.Fatal(err)
	}
	if limit := 128<<10 + n*recordSize; r.n > limit {
		t.Errorf("%d bytes were read of %d, the limit is %d", r.n, len(w.b), limit)
	}
}
