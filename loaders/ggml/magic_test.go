// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package ggml

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, iotest.ErrTimeout }

func TestIs(t *testing.T) {
	for content, want := range map[string]bool{
		"lmgg": true, "lmggxyz": true, "fmgg": true, "tjgg": true, "algg": true,
		"": false, "lmg": false, "ggml": false, "GGUF": false, "PK\x03\x04": false, "\x80\x02\x8a\x0a": false,
	} {
		if got, err := Is(strings.NewReader(content)); got != want || err != nil {
			t.Errorf("%q: %v, %v", content, got, err)
		}
	}
	var r io.ReaderAt = failing{}
	if _, err := Is(r); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("a failing read: %v", err)
	}
}
