// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReaders: readers that map share the file's pages, those that copy have
// their own, and both see its bytes.
func TestReaders(t *testing.T) {
	t.Setenv(asProgram, "1")
	const size = 4<<20 + 3
	content := []byte(strings.Repeat("modelfs!", size/8+1)[:size])
	path := filepath.Join(t.TempDir(), "weights")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	for mode, wantPrivate := range map[string]bool{"map": false, "copy": true} {
		readers, err := startReaders(mustExecutable(t), 2, mode, path)
		t.Cleanup(func() { end(readers) })
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range readers {
			if r.Sum != addUp(content) || r.PID != r.process.Process.Pid || r.Seconds <= 0 {
				t.Errorf("%s: %+v", mode, r.readerReport)
			}
			if r.Rss < size || (r.Private >= size) != wantPrivate || !wantPrivate && r.Private != 0 {
				t.Errorf("%s: resident %d, private %d of %d", mode, r.Rss, r.Private, size)
			}
		}
		end(readers)
		for _, r := range readers {
			if !r.process.ProcessState.Success() {
				t.Errorf("%s: a reader ended with %s", mode, r.process.ProcessState)
			}
		}
	}
}

func TestReaderThatFails(t *testing.T) {
	t.Setenv(asProgram, "1")
	readers, err := startReaders(mustExecutable(t), 1, "map", filepath.Join(t.TempDir(), "missing"))
	defer end(readers)
	if err == nil || !strings.Contains(err.Error(), "exit status 1") || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("got %v", err)
	}
}

func TestResident(t *testing.T) {
	const smaps = `7f0000000000-7f0000002000 r--s 00000000 00:2c 1234  /mnt/x: y
Size:                  8 kB
Rss:                   8 kB
Anonymous:             0 kB
THPeligible:           0
VmFlags: rd mr me ms
7f0000002000-7f0000004000 rw-p 00000000 00:00 0
Rss:                   4 kB
Anonymous:             4 kB
7f0000004000-7f0000005000 rw-p 00000000 00:00 0
Rss:                 400 kB
Anonymous:           400 kB
`
	rss, private, err := resident(strings.NewReader(smaps), 0x7f0000000000, 0x7f0000004000)
	if err != nil || rss != 12<<10 || private != 4<<10 {
		t.Errorf("rss %d, private %d, %v; want 12 KiB and 4 KiB", rss, private, err)
	}
}
