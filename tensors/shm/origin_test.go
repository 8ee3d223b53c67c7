// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestOrigin(t *testing.T) {
	f := originFile(t, t.TempDir(), 70_001)
	o := OpenOrigin(f)
	defer o.Close()
	if err := iotest.TestReader(io.NewSectionReader(o, 0, 70_001), pattern(70_001)); err != nil {
		t.Error(err)
	}
	p := make([]byte, 100)
	if n, err := o.ReadAt(p, 69_951); n != 50 || !errors.Is(err, io.EOF) {
		t.Errorf("over the end: %d bytes, %v; want 50 and EOF", n, err)
	}
	if n, err := o.ReadAt(p, 1<<40); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("behind the end: %d bytes, %v; want EOF", n, err)
	}
}
