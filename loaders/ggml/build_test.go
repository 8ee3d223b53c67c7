// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package ggml

import (
	"encoding/binary"
	"io"
	"testing"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/tensors"
)

const fileName = "folder/ggml-model.bin"

var parse hostile.Parse[*tensors.Index] = func(r io.ReaderAt, size int64) (*tensors.Index, error) {
	return Parse(fileName, r, size)
}

// writer puts a file together, number by number. mark is a byte to come back to,
// ends are where tensors end.
type writer struct {
	b    []byte
	mark int64
	ends []int64
}

func start() *writer { return (&writer{}).u32(magic) }

func (w *writer) here() *writer {
	w.mark = int64(len(w.b))
	return w
}

// at puts the mark anywhere.
func (w *writer) at(n int64) *writer {
	w.mark = n
	return w
}

func (w *writer) raw(b ...byte) *writer {
	w.b = append(w.b, b...)
	return w
}

func (w *writer) u32(all ...uint32) *writer {
	for _, v := range all {
		w.b = binary.LittleEndian.AppendUint32(w.b, v)
	}
	return w
}

// set replaces the i-th number after the magic, and puts the mark there.
func (w *writer) set(i int, v uint32) *writer {
	w.mark = int64(4 + 4*i)
	binary.LittleEndian.PutUint32(w.b[w.mark:], v)
	return w
}

func (w *writer) text(s string) *writer { return w.u32(uint32(len(s))).raw([]byte(s)...) }

// whisper writes what is before a Whisper model's tensors.
func whisper(fileType uint32) *writer {
	return start().u32(99, 1500, 8, 2, 1, 448, 8, 2, 1, 3, fileType).
		u32(3, 2).raw(make([]byte, 24)...).
		u32(4).text("a").text("").text(" the").text("\xff\x00")
}

// parakeet writes what is before a Parakeet model's tensors.
func parakeet(fileType uint32) *writer {
	return start().u32(10, 5000, 8, 2, 1, 3, fileType, 4, 8, 4, 3, 8, 1, 2, 5).
		u32(3, 3).raw(make([]byte, 36)...).
		u32(4).raw(make([]byte, 16)...).
		u32(0, 1).
		u32(2).text("<unk>").text("a")
}

// silero writes what is before a Silero model's tensors.
func silero() *writer {
	return start().text("silero-16k").u32(6, 2, 0, 512, 64).u32(2, 129, 128, 3, 128, 64, 3).u32(128, 128, 128, 1)
}

// header writes a tensor's; dims are innermost first, as in the file.
func (w *writer) header(name string, number uint32, dims ...uint32) *writer {
	return w.u32(uint32(len(dims)), uint32(len(name)), number).u32(dims...).raw([]byte(name)...)
}

// tensor writes a tensor with n bytes of data.
func (w *writer) tensor(name string, number uint32, n int, dims ...uint32) *writer {
	w.header(name, number, dims...)
	for i := range n {
		w.raw(byte(i))
	}
	w.ends = append(w.ends, int64(len(w.b)))
	return w
}

// sound is a small file with a bit of everything.
func sound() *writer {
	w := whisper(2009)
	w.ends = append(w.ends, int64(len(w.b)))
	return w.tensor("encoder.conv1.weight", 1, 36, 3, 2, 3).tensor("a", 0, 4).
		tensor("decoder.blocks.0.mlp.0.weight", 7, 48, 32, 2).tensor("ä/b", 0, 0, 3, 0)
}

// check holds for whatever is taken: the tensors lie one after the other, have
// distinct names, and are as large as their shapes say.
func check(tb testing.TB, ix *tensors.Index, size int64) {
	tb.Helper()
	names := make(map[string]bool)
	end := int64(54)
	for _, t := range ix.Tensors {
		n, err := t.DType.NBytes(t.Shape)
		if err != nil || n != t.NBytes || len(t.Shape) > maxDims {
			tb.Errorf("%q: %s%v in %d bytes: %v", t.Name, t.DType, t.Shape, t.NBytes, err)
		}
		// Its header lies before it.
		if t.Offset < end+12+4*int64(len(t.Shape))+int64(len(t.Name)) || t.NBytes > size-t.Offset {
			tb.Errorf("%q: %d bytes at %d of %d, the ones before end at %d", t.Name, t.NBytes, t.Offset, size, end)
		}
		end = t.Offset + t.NBytes
		if names[t.Name] || t.File != fileName || t.Strides != nil || t.Maker != nil {
			tb.Errorf("%+v", t)
		}
		names[t.Name] = true
	}
	if len(ix.Tensors) > 0 && end != size {
		tb.Errorf("the tensors end at %d of %d", end, size)
	}
}
