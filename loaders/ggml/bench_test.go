// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package ggml

import (
	"fmt"
	"io"
	"testing"
)

// sparse is a file of records that have their headers, and zeros for their data.
type sparse struct {
	begin, record []byte
	every         int64 // record and data
	size          int64
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.size {
		return 0, io.EOF
	}
	var err error
	if left := s.size - off; int64(len(p)) > left {
		p, err = p[:left], io.EOF
	}
	clear(p)
	for n := 0; n < len(p); {
		at := off + int64(n)
		if at < int64(len(s.begin)) {
			n += copy(p[n:], s.begin[at:])
			continue
		}
		i := (at - int64(len(s.begin))) / s.every
		in := (at - int64(len(s.begin))) % s.every
		if in < int64(len(s.record)) {
			record := fmt.Appendf(s.record[:len(s.record)-6:len(s.record)-6], "%06d", i)
			n += copy(p[n:], record[in:])
			continue
		}
		n += int(s.every - in)
	}
	return len(p), err
}

// BenchmarkParse is of a model of 10,000 tensors of 16 MiB.
func BenchmarkParse(b *testing.B) {
	const n = 10_000
	w := whisper(1)
	s := &sparse{begin: w.b, record: (&writer{}).header("encoder.blocks.mlp.weight.000000", 1, 4096, 2048).b}
	s.every = int64(len(s.record)) + 4096*2048*2
	s.size = int64(len(s.begin)) + n*s.every
	b.ReportAllocs()
	for b.Loop() {
		if ix, err := parse(s, s.size); err != nil || len(ix.Tensors) != n {
			b.Fatal(err)
		}
	}
}
