// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux || modelfs_portable

package shm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// backends are what the shared tests run on.
var backends = []string{"files"}

// openBackend opens a store that is closed when the test ends.
func openBackend(t testing.TB, _ string) *Store {
	t.Helper()
	s, err := Open(Config{Dir: filepath.Join(tempDir(t), "segments"), Size: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left := entries(t, s); len(left) > 0 {
			t.Errorf("files left in the store: %q", left)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(s.Dir()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("folder %s is left: %v", s.Dir(), err)
		}
	})
	return s
}

// entries are the files of a store.
func entries(t testing.TB, s *Store) []string {
	t.Helper()
	if s.closed {
		return nil
	}
	all, err := os.ReadDir(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

func TestFilesInfo(t *testing.T) {
	s := openBackend(t, "files")
	if i := s.Info(); i.Backend != "files" || i.HugePages || i.Leases || i.Reason == "" {
		t.Errorf("%+v", i)
	}
	if Available() <= 0 {
		t.Error("nothing is available")
	}
}

func TestFilesCleanStale(t *testing.T) {
	dir := tempDir(t)
	stale := filepath.Join(dir, "segments")
	s, err := Open(Config{Dir: stale, Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Create("killed", 10)
	if err != nil {
		t.Fatal(err)
	}
	_ = b.file.Close()
	for range 2 { // with something there, and with nothing
		if err := CleanStale(stale); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(stale); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it is left: %v", err)
		}
	}
	other := filepath.Join(dir, "mine")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CleanStale(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(other); err != nil {
		t.Errorf("a file that is not the store's is gone: %v", err)
	}
}

func TestFilesTemporary(t *testing.T) {
	tempDir(t)
	s, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(s.place.own); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", s.place.own, err)
	}
}
