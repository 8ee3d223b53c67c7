// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !modelfs_portable

package shm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// files writes a tree of files below dir.
func files(t *testing.T, dir string, texts map[string]string) {
	t.Helper()
	for name, text := range texts {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCgroupRoom(t *testing.T) {
	for _, c := range []struct {
		name, self string
		files      map[string]string
		room       int64 // -1: no limit
		limit      string
	}{
		{name: "none", self: "", room: -1},
		{name: "no such files", self: "0::/a/b\n", room: -1},
		{name: "v2, own", self: "0::/a/b\n", files: map[string]string{
			"a/b/memory.max": "1000\n", "a/b/memory.current": "400\n", "a/memory.max": "max\n", "a/memory.current": "1\n",
		}, room: 600, limit: "a/b/memory.max"},
		{name: "v2, above", self: "0::/a/b\n", files: map[string]string{
			"a/b/memory.max": "1000\n", "a/b/memory.current": "400\n", "a/memory.max": "900\n", "a/memory.current": "800\n",
		}, room: 100, limit: "a/memory.max"},
		{name: "v2, at the namespace's root", self: "0::/\n", files: map[string]string{
			"memory.max": "50\n", "memory.current": "20\n",
		}, room: 30, limit: "memory.max"},
		{name: "v2, outside of the namespace", self: "0::/../x\n", files: map[string]string{
			"memory.max": "50\n", "memory.current": "20\n",
		}, room: 30, limit: "memory.max"},
		{name: "v2, cache can be reclaimed", self: "0::/a\n", files: map[string]string{
			"a/memory.max": "1000\n", "a/memory.current": "1000\n",
			"a/memory.stat": "anon 500\nfile 400\ninactive_anon 5\ninactive_file 300\nactive_file 100\nslab 1\n",
		}, room: 350, limit: "a/memory.max"},
		{name: "v2, over the limit", self: "0::/a\n", files: map[string]string{
			"a/memory.max": "1000\n", "a/memory.current": "1200\n",
		}, room: 0, limit: "a/memory.max"},
		{name: "v1", self: "5:cpu,cpuacct:/z\n4:memory:/a\n", files: map[string]string{
			"memory/a/memory.limit_in_bytes": "700\n", "memory/a/memory.usage_in_bytes": "100\n",
			"memory/a/memory.stat":         "inactive_file 9999\ntotal_inactive_file 50\ntotal_active_file 20\n",
			"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/memory.usage_in_bytes": "5\n",
			"cpu/z/memory.max": "1\n", "cpu/z/memory.current": "1\n",
		}, room: 660, limit: "memory/a/memory.limit_in_bytes"},
		{name: "v1 with v2 beside it", self: "4:memory:/a\n0::/b\n", files: map[string]string{
			"memory/a/memory.limit_in_bytes": "700\n", "memory/a/memory.usage_in_bytes": "100\n",
			"unified/b/memory.max": "300\n", "unified/b/memory.current": "100\n",
		}, room: 200, limit: "unified/b/memory.max"},
		{name: "nonsense", self: "x\n1:memory\n0::/a\n", files: map[string]string{
			"a/memory.max": "many\n", "a/memory.current": "1\n",
		}, room: -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := filepath.Join(tempDir(t), "root")
			self := filepath.Join(filepath.Dir(root), "self")
			files(t, root, c.files)
			files(t, filepath.Dir(root), map[string]string{"self": c.self})
			if c.room < 0 {
				if err := cgroupRoom(self, root, 1<<60); err != nil {
					t.Errorf("no limit: %v", err)
				}
				return
			}
			if err := cgroupRoom(self, root, c.room); err != nil {
				t.Errorf("%d bytes: %v", c.room, err)
			}
			err := cgroupRoom(self, root, c.room+1)
			if !errors.Is(err, ErrNoMemory) || !strings.Contains(err.Error(), filepath.Join(root, c.limit)+" ") {
				t.Errorf("%d bytes: %v", c.room+1, err)
			}
		})
	}
}

func TestMachineRoom(t *testing.T) {
	dir := tempDir(t)
	files(t, dir, map[string]string{
		"meminfo": "MemTotal:       1000 kB\nMemFree:          10 kB\nMemAvailable:     200 kB\n",
		"old":     "MemTotal:       1000 kB\n",
		"odd":     "MemAvailable:     x kB\n",
	})
	if err := machineRoom(filepath.Join(dir, "meminfo"), 200<<10); err != nil {
		t.Error(err)
	}
	if err := machineRoom(filepath.Join(dir, "meminfo"), 200<<10+1); !errors.Is(err, ErrNoMemory) {
		t.Errorf("one byte more: %v", err)
	}
	for _, unknown := range []string{"old", "odd", "missing"} {
		if err := machineRoom(filepath.Join(dir, unknown), 1<<60); err != nil {
			t.Errorf("%s: %v", unknown, err)
		}
	}
}

func TestAvailable(t *testing.T) {
	n := Available()
	if n <= 0 || n > 1<<50 {
		t.Errorf("%d bytes are available", n)
	}
	if err := available(1 << 60); !errors.Is(err, ErrNoMemory) {
		t.Errorf("an exabyte: %v", err)
	}
}
