// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// use is what a process and its children take.
type use struct {
	rss, peak int64         // bytes now, and at the most so far
	cpu       time.Duration // since their start
}

// readUse adds up a process and all below it: a daemon may have a child.
func readUse(pid int) (use, error) {
	family := []int{pid}
	var total use
	for i := 0; i < len(family); i++ {
		u, err := readOne(family[i])
		if err != nil {
			if i > 0 && errors.Is(err, os.ErrNotExist) {
				continue // it ended meanwhile
			}
			return use{}, err
		}
		total = use{total.rss + u.rss, total.peak + u.peak, total.cpu + u.cpu}
		family = append(family, children(family[i])...)
	}
	return total, nil
}

func readOne(pid int) (use, error) {
	var u use
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		var kib int64
		if name == "VmRSS" || name == "VmHWM" {
			if _, err := fmt.Sscan(value, &kib); err != nil {
				return u, fmt.Errorf("/proc/%d/status, %s: %w", pid, name, err)
			}
		}
		switch name {
		case "VmRSS":
			u.rss = kib << 10
		case "VmHWM":
			u.peak = kib << 10
		}
	}
	if err := lines.Err(); err != nil {
		return u, err
	}
	u.cpu, err = cpuTime(pid)
	return u, err
}

// cpuTime adds up the threads' time on a processor, to the nanosecond; stat has
// it only in ticks of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	var total int64
	for _, t := range threads {
		text, err := os.ReadFile(t)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		var ns int64
		if _, err := fmt.Sscan(string(text), &ns); err != nil {
			return 0, fmt.Errorf("%s: %w", t, err)
		}
		total += ns
	}
	return time.Duration(total), nil
}

func children(pid int) []int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var all []int
	for _, l := range lists {
		text, _ := os.ReadFile(l)
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}
