// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// weightFile is the name of every weight file that is written here.
const weightFile = "model.safetensors"

// writeModel writes models/NAME/model.safetensors: exactly size bytes, so many
// tensors of the same length as fit, of bytes that no disk can make smaller. It
// is on the disk, and not in the page cache, when this returns.
func writeModel(ctx context.Context, models, name string, size int64, tensors int) (string, error) {
	dir := filepath.Join(models, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, weightFile)
	const perTensor = 128 // of header, at the most
	data := size - 8 - int64(tensors+1)*perTensor
	each := data / int64(tensors) &^ 3
	header := safetensorsHeader(tensors, each, "F32", each/4)
	header = fmt.Sprintf("%-*s", size-8-each*int64(tensors), header)
	return path, writeFile(path, func(w io.Writer) error {
		if err := writeHeader(w, header); err != nil {
			return err
		}
		return fill(ctx, w, each*int64(tensors))
	})
}

// safetensorsHeader lists tensors of one length.
func safetensorsHeader(tensors int, nbytes int64, dtype string, elements int64) string {
	var b strings.Builder
	b.WriteString("{")
	for i := range int64(tensors) {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"model.layers.%06d.weight":{"dtype":%q,"shape":[%d],"data_offsets":[%d,%d]}`, i, dtype, elements, i*nbytes, (i+1)*nbytes)
	}
	b.WriteString("}")
	return b.String()
}

func writeHeader(w io.Writer, header string) error {
	if err := binary.Write(w, binary.LittleEndian, uint64(len(header))); err != nil {
		return err
	}
	_, err := io.WriteString(w, header)
	return err
}

// fill writes n random bytes.
func fill(ctx context.Context, w io.Writer, n int64) error {
	source := rand.NewChaCha8([32]byte{31: 1})
	chunk := make([]byte, 4<<20)
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := chunk[:min(int64(len(chunk)), n)]
		source.Read(part)
		if _, err := w.Write(part); err != nil {
			return err
		}
		n -= int64(len(part))
	}
	return nil
}

// writeFile makes a file, and puts it on the disk and out of the page cache.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return &os.PathError{Op: "fadvise", Path: path, Err: err}
	}
	return f.Close()
}

// writeTensors writes a model of very many small tensors.
func writeTensors(models, name string, tensors int) error {
	dir := filepath.Join(models, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, weightFile), func(w io.Writer) error {
		if err := writeHeader(w, safetensorsHeader(tensors, 16, "F32", 4)); err != nil {
			return err
		}
		return fill(context.Background(), w, int64(tensors)*16)
	})
}

// writeModels writes very many small models, each with a configuration.
func writeModels(ctx context.Context, models string, n int) error {
	weights := new(strings.Builder)
	if err := writeHeader(weights, safetensorsHeader(2, 256, "F32", 64)); err != nil {
		return err
	}
	weights.WriteString(strings.Repeat("x", 512))
	for i := range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		dir := filepath.Join(models, fmt.Sprintf("model-%05d", i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for name, text := range map[string]string{weightFile: weights.String(), "config.json": "{}\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}
