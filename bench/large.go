// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
)

// largeTensors is how many a large file has: a language model's.
const largeTensors = 1000

// largeFile is a file of which only the header is on the disk; the tensors are a hole.
type largeFile struct {
	name   string
	header []byte
	size   int64
}

// largeFiles have so many bytes of tensors.
func largeFiles(data int64) []largeFile {
	each := data / largeTensors &^ 31
	var plain bytes.Buffer
	// A bytes.Buffer does not fail.
	_ = writeHeader(&plain, safetensorsHeader(largeTensors, each, "BF16", each/2))
	all := []largeFile{
		{name: "large.safetensors", header: plain.Bytes()},
		{name: "large.gguf", header: ggufHeader(largeTensors, uint64(each))},
	}
	for i := range all {
		all[i].size = int64(len(all[i].header)) + each*largeTensors
	}
	return all
}

// ggufHeader lists BF16 tensors of one length.
func ggufHeader(tensors int, nbytes uint64) []byte {
	le := binary.LittleEndian
	const bf16, version = 30, 3
	b := le.AppendUint32([]byte("GGUF"), version)
	b = le.AppendUint64(b, uint64(tensors))
	b = le.AppendUint64(b, 0) // keys
	for i := range tensors {
		name := fmt.Sprintf("blk.%06d.weight", i)
		b = le.AppendUint64(b, uint64(len(name)))
		b = append(b, name...)
		b = le.AppendUint32(b, 1) // dimensions
		b = le.AppendUint64(b, nbytes/2)
		b = le.AppendUint32(b, bf16)
		b = le.AppendUint64(b, uint64(i)*nbytes)
	}
	return append(b, make([]byte, -len(b)&31)...)
}

// measureLarge: the list of a file of 40 GB, and what is read of it.
func measureLarge(ctx context.Context, b *bench, s *scope) ([]result, error) {
	var results []result
	for _, l := range largeFiles(b.plan.largeSize) {
		path := s.path(l.name)
		if err := os.WriteFile(path, l.header, 0o644); err != nil {
			return nil, err
		}
		if err := os.Truncate(path, l.size); err != nil {
			return nil, err
		}
		var read series
		all, err := b.takeTurns(ctx, b.plan.headerRounds, []contender{{l.name, seconds, func(ctx context.Context) (float64, error) {
			a, err := b.helper(ctx, "index", path)
			if err != nil {
				return 0, err
			}
			if a.Count != largeTensors {
				return 0, fmt.Errorf("it found %d tensors of %d", a.Count, largeTensors)
			}
			read = append(read, float64(a.Bytes))
			return a.Seconds, nil
		}}})
		if err != nil {
			return nil, err
		}
		what := fmt.Sprintf("%s of %s: the list of %d tensors", l.name, memory.format(float64(l.size)), largeTensors)
		few := alone(what+", bytes read", memory, read[1:], under(float64(len(l.header)+largeSlack), memory))
		few.Note = fmt.Sprintf("the header has %d bytes", len(l.header))
		results = append(results, alone(what, seconds, all[0], goal{}), few)
	}
	return results, nil
}

// largeSlack is what a list may read beyond the header: a window of a reader, and
// what the process reads of /proc.
const largeSlack = 256 << 10
