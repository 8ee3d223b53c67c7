// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestShippedModel: it is the file that the notice describes, with its licence.
func TestShippedModel(t *testing.T) {
	source := t.TempDir()
	if err := writeRealModel(source); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(source, realModel, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	sum := sha256.Sum256(read(realFile))
	if !strings.Contains(string(read("NOTICE")), "SHA-256: "+hex.EncodeToString(sum[:])) {
		t.Errorf("the notice is of another file than %x", sum)
	}
	licence := string(read("LICENSE"))
	for _, words := range []string{"MIT License", "Copyright (c) 2020-present Silero Team", "The above copyright notice and this permission notice shall be included"} {
		if !strings.Contains(licence, words) {
			t.Errorf("the licence lacks %q", words)
		}
	}
}

// TestMadeUpModel: it is a safetensors file whose header covers all of it.
func TestMadeUpModel(t *testing.T) {
	source := t.TempDir()
	if err := writeMadeUpModel(source); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(source, madeUpModel, madeUpFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var length uint64
	if err := binary.Read(f, binary.LittleEndian, &length); err != nil {
		t.Fatal(err)
	}
	header := make([]byte, length)
	if _, err := io.ReadFull(f, header); err != nil {
		t.Fatal(err)
	}
	var tensors map[string]struct {
		Offsets []int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(header, &tensors); err != nil {
		t.Fatal(err)
	}
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if end := tensors["weights"].Offsets[1]; st.Size() != 8+int64(length)+end || (8+length)%8 != 0 {
		t.Errorf("%d bytes, header %d, data %d", st.Size(), length, end)
	}
}
