// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memory is what a machine has left for a budget.
type memory struct {
	available int64  // MemAvailable
	limited   int64  // what the tightest cgroup above leaves, -1 without limit
	cgroup    string // that cgroup
}

// least is what can be had, whichever bound is the tighter.
func (m memory) least() int64 {
	if m.limited >= 0 && m.limited < m.available {
		return m.limited
	}
	return m.available
}

// readMemory reads /proc/meminfo and the cgroups of this process. root is "/",
// but in tests.
func readMemory(root string) (memory, error) {
	m := memory{limited: -1}
	fields, err := readFields(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return m, fmt.Errorf("see how much memory is available: %w", err)
	}
	m.available = fields["MemAvailable:"] << 10
	if m.available == 0 {
		return m, fmt.Errorf("%s/proc/meminfo has no MemAvailable: say --memory", strings.TrimRight(root, "/"))
	}
	text, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return m, nil
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			m.lookUp(filepath.Join(root, "sys/fs/cgroup"), path)
		}
	}
	return m, nil
}

// lookUp walks from a cgroup to the top and keeps the tightest limit.
func (m *memory) lookUp(base, path string) {
	for at := filepath.Join("/", path); ; at = filepath.Dir(at) {
		folder := filepath.Join(base, at)
		limit, ok := readNumber(filepath.Join(folder, "memory.max"))
		used, _ := readNumber(filepath.Join(folder, "memory.current"))
		if ok {
			// The page cache of files goes when it is needed.
			if stat, err := readFields(filepath.Join(folder, "memory.stat")); err == nil {
				used -= stat["inactive_file"] + stat["active_file"]
			}
			if left := max(limit-max(used, 0), 0); m.limited < 0 || left < m.limited {
				m.limited, m.cgroup = left, at
			}
		}
		if at == "/" {
			return
		}
	}
}

func readNumber(path string) (int64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil // "max" is no limit
}

// readFields reads lines of a name and a number.
func readFields(path string) (map[string]int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]int64{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if words := strings.Fields(lines.Text()); len(words) >= 2 {
			if n, err := strconv.ParseInt(words[1], 10, 64); err == nil {
				out[words[0]] = n
			}
		}
	}
	return out, lines.Err()
}
