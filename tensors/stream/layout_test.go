// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/tensors"
)

// TestLayoutBytes: the example of docs/streams.md, byte by byte.
func TestLayoutBytes(t *testing.T) {
	l, err := newLayout(tensors.BF16, []int64{3, 480, 640}, 4)
	if err != nil {
		t.Fatal(err)
	}
	want := "4d4653545245414d" + "01000000" + "00100000" + "04000000" + "03000000" +
		"00201c0000000000" + "00201c0000000000" + hex.EncodeToString([]byte("BF16")) + strings.Repeat("00", 20) +
		"0300000000000000" + "e001000000000000" + "8002000000000000" + strings.Repeat("00", 104) + strings.Repeat("00", 320)
	got := hex.EncodeToString(l.encode())
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if l.size() != 4096+4*1843200 {
		t.Errorf("size %d", l.size())
	}
	for n, want := range map[uint64][2]int64{1: {512, 4096}, 4: {704, 4096 + 3*1843200}, 5: {512, 4096}} {
		if row, from := l.slot(n); row != want[0] || from != want[1] {
			t.Errorf("frame %d lies at %d, %d, want %v", n, row, from, want)
		}
	}
}

func TestLayoutRefuses(t *testing.T) {
	good, err := newLayout(tensors.F32, []int64{100, 3}, 5)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := parse(good.encode(), good.size()); err != nil || !l.equal(good) {
		t.Fatalf("%+v, %v", l, err)
	}
	for what, damage := range map[string]func(b []byte) int64{
		"short":          func([]byte) int64 { return good.size() - 1 },
		"magic":          func(b []byte) int64 { b[7]++; return good.size() },
		"version":        func(b []byte) int64 { b[atVersion]++; return good.size() },
		"header":         func(b []byte) int64 { le.PutUint32(b[atHeader:], 512+5*64); return good.size() },
		"no header":      func(b []byte) int64 { le.PutUint32(b[atHeader:], 0); return good.size() },
		"slots":          func(b []byte) int64 { le.PutUint32(b[atSlots:], 6); return good.size() },
		"one slot":       func(b []byte) int64 { le.PutUint32(b[atSlots:], 1); return good.size() },
		"2^32-1 slots":   func(b []byte) int64 { le.PutUint32(b[atSlots:], 1<<32-1); return good.size() },
		"rank":           func(b []byte) int64 { le.PutUint32(b[atRank:], 17); return good.size() },
		"frame":          func(b []byte) int64 { b[atFrame]++; return good.size() },
		"stride":         func(b []byte) int64 { le.PutUint64(b[atStride:], 1200); return good.size() },
		"stride 2^63":    func(b []byte) int64 { le.PutUint64(b[atStride:], 1<<63); return good.size() },
		"stride 2^63-4k": func(b []byte) int64 { le.PutUint64(b[atStride:], 1<<63-4096); return good.size() },
		"dtype":          func(b []byte) int64 { b[atDType] = 'G'; return good.size() },
		"shape":          func(b []byte) int64 { le.PutUint64(b[atShape:], 101); return good.size() },
		"shape 2^64-1":   func(b []byte) int64 { le.PutUint64(b[atShape:], 1<<64-1); return good.size() },
	} {
		b := good.encode()
		if _, err := parse(b, damage(b)); !errors.Is(err, ErrNotStream) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzLayout: no header is accepted with which a slot would lie outside the file.
func FuzzLayout(f *testing.F) {
	for _, dtype := range []tensors.DType{tensors.U8, tensors.BF16, tensors.Q4_0} {
		if l, err := newLayout(dtype, []int64{2, 32}, 3); err == nil {
			f.Add(l.encode(), l.size())
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		l, err := parse(b, size)
		if err != nil {
			if !errors.Is(err, ErrNotStream) {
				t.Error(err)
			}
			return
		}
		if l.size() > size || l.size() < 0 || l.frame <= 0 || l.frame > l.stride || l.slots < MinSlots {
			t.Errorf("%+v of %d bytes", l, size)
		}
		for n := range uint64(l.slots) {
			if row, from := l.slot(n); row+slotRow > l.header || from+l.frame > size || row < atSlot || from < l.header {
				t.Errorf("frame %d at %d, %d: %+v", n, row, from, l)
			}
		}
		if head := l.encode(); !bytes.Equal(head[:atDType], b[:atDType]) {
			t.Errorf("%+v is written as % x, was % x", l, head[:atDType], b[:atDType])
		}
	})
}
