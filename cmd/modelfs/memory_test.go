// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReadMemory(t *testing.T) {
	const meminfo = "MemTotal:       1000 kB\nMemAvailable:    800 kB\n"
	for _, test := range []struct {
		name  string
		files map[string]string
		want  memory
		least int64
	}{
		{"no cgroup", map[string]string{}, memory{800 << 10, -1, ""}, 800 << 10},
		{"no limit", map[string]string{
			"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n",
		}, memory{800 << 10, -1, ""}, 800 << 10},
		{"the tightest above", map[string]string{
			"proc/self/cgroup":                 "1:cpu:/x\n0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max":     "600000\n",
			"sys/fs/cgroup/a/b/memory.current": "100000\n",
			"sys/fs/cgroup/a/memory.max":       "500000\n",
			"sys/fs/cgroup/a/memory.current":   "400000\n",
			"sys/fs/cgroup/a/memory.stat":      "anon 1\ninactive_file 200000\nactive_file 50000\n",
		}, memory{800 << 10, 350000, "/a"}, 350000},
		{"full", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "5\n", "sys/fs/cgroup/memory.current": "9\n",
		}, memory{800 << 10, 0, "/"}, 0},
		{"wider than the machine", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "99999999\n",
		}, memory{800 << 10, 99999999, "/"}, 800 << 10},
	} {
		root := t.TempDir()
		test.files["proc/meminfo"] = meminfo
		for name, text := range test.files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := readMemory(root)
		if err != nil || got != test.want || got.least() != test.least {
			t.Errorf("%s: %+v (least %d), %v; want %+v (least %d)", test.name, got, got.least(), err, test.want, test.least)
		}
	}
	if _, err := readMemory(t.TempDir()); err == nil {
		t.Error("no meminfo, and no error")
	}
}
