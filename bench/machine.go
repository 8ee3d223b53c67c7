// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is where and of what a run was made.
type machine struct {
	CPU        string `json:"cpu"`
	Processors int    `json:"processors"`
	Kernel     string `json:"kernel"`
	Memory     int64  `json:"memory_bytes"`
	Disk       string `json:"disk"`
	Date       string `json:"date"` // UTC
	Go         string `json:"go"`
	Revision   string `json:"revision"`
	LoadBefore string `json:"load_before"` // the averages of 1, 5 and 15 minutes
	LoadAfter  string `json:"load_after"`
}

// readMachine says of each what it can find out; what it cannot is "unknown".
func readMachine(ctx context.Context, repository, dir string) machine {
	m := machine{
		CPU: "unknown", Processors: runtime.NumCPU(), Kernel: "unknown", Disk: disk(dir),
		Date: time.Now().UTC().Format("2006-01-02 15:04 UTC"), Go: runtime.Version(), Revision: revision(ctx, repository),
		LoadBefore: loadAverage(),
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:]) + " " + unix.ByteSliceToString(name.Machine[:])
	}
	m.Memory, _ = meminfo("MemTotal")
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			key, value, _ := strings.Cut(lines.Text(), ":")
			switch strings.TrimSpace(key) {
			case "model name":
				m.CPU = strings.TrimSpace(value)
			case "flags":
				if strings.Contains(value+" ", " hypervisor ") {
					m.CPU += ", virtual"
				}
				return m
			}
		}
	}
	return m
}

func (m machine) rows() [][2]string {
	return [][2]string{
		{"processor", fmt.Sprintf("%s, %d", m.CPU, m.Processors)},
		{"kernel", m.Kernel},
		{"memory", memory.format(float64(m.Memory))},
		{"disk", m.Disk},
		{"date", m.Date},
		{"built with", m.Go},
		{"revision", m.Revision},
		{"load average, before and after", m.LoadBefore + ", " + m.LoadAfter},
	}
}

// disk describes what a folder lies on: the filesystem, and the device with what
// its maker calls it.
func disk(dir string) string {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return "unknown"
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	kind, source := filesystem(number)
	text := kind + " on " + source
	device, err := filepath.EvalSymlinks("/sys/dev/block/" + number)
	if err != nil {
		return text
	}
	for _, at := range []string{device, filepath.Dir(device)} { // a partition's disk is above it
		if model, err := os.ReadFile(filepath.Join(at, "device/model")); err == nil {
			text += ", " + strings.TrimSpace(string(model))
		}
		rotates, err := os.ReadFile(filepath.Join(at, "queue/rotational"))
		if err != nil {
			continue
		}
		ahead, _ := os.ReadFile(filepath.Join(at, "queue/read_ahead_kb"))
		return fmt.Sprintf("%s, rotational %s, reads %s KiB ahead", text, strings.TrimSpace(string(rotates)), strings.TrimSpace(string(ahead)))
	}
	return text
}

// filesystem looks a device number up in mountinfo.
func filesystem(number string) (kind, source string) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "unknown", "unknown"
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields, what := strings.Fields(before), strings.Fields(after)
		if len(fields) > 2 && fields[2] == number && len(what) > 1 {
			return what[0], what[1]
		}
	}
	return "unknown", "unknown"
}

// revision is the commit, and whether the tree has something else by now.
func revision(ctx context.Context, repository string) string {
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12")
	cmd.Dir = repository
	out, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
