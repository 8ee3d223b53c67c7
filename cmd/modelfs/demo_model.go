// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"embed"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// demoFiles holds the model that ships with the program, with its licence.
//
//go:embed demo/silero_vad
var demoFiles embed.FS

const (
	realModel = "silero-vad"
	realFile  = "silero_vad_16k.safetensors"

	madeUpModel = "made-up"
	madeUpFile  = "model.safetensors"
	madeUpBytes = 128 << 20
)

// writeRealModel writes the shipped model below a source folder.
func writeRealModel(source string) error {
	from, err := fs.Sub(demoFiles, "demo/silero_vad")
	if err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(source, realModel), from)
}

// writeMadeUpModel writes a model of random weights, large enough for
// differences to show.
func writeMadeUpModel(source string) (err error) {
	folder := filepath.Join(source, madeUpModel)
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(folder, madeUpFile))
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	header := fmt.Sprintf(`{"weights":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, madeUpBytes, madeUpBytes)
	for (8+len(header))%8 != 0 {
		header += " "
	}
	if _, err := f.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)); err != nil {
		return err
	}
	random := rand.NewChaCha8([32]byte{'m', 'o', 'd', 'e', 'l', 'f', 's'})
	block := make([]byte, 1<<20)
	for range madeUpBytes / len(block) {
		random.Read(block)
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return nil
}
