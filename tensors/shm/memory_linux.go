// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !modelfs_portable

package shm

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// available says whether n bytes can be reserved without the kernel killing
// somebody: within the limits of every cgroup above this process and within what
// the machine has left.
func available(n int64) error {
	if err := machineRoom(memInfo, n); err != nil {
		return err
	}
	return cgroupRoom(ownCgroups, cgroupRoot, n)
}

// memory remembers for a moment what memory was left: a look takes longer than to write
// a page. What is much of that is looked at anew.
type memory struct {
	at   time.Time
	left int64
}

const glance = 20 * time.Millisecond

func (r *memory) take(n int64) error {
	if time.Since(r.at) > glance || n > r.left/8 {
		if err := available(n); err != nil {
			return err
		}
		r.at, r.left = time.Now(), Available()
	}
	r.left -= n
	return nil
}

// Where the kernel tells.
const (
	memInfo    = "/proc/meminfo"
	ownCgroups = "/proc/self/cgroup"
	cgroupRoot = "/sys/fs/cgroup"
)

// Available is how many bytes this process could take: the least of what the
// machine has left and of the room in the cgroups above.
func Available() int64 {
	free, ok := memAvailable(memInfo)
	if !ok {
		free = 1 << 62
	}
	for _, g := range cgroups(ownCgroups, cgroupRoot) {
		if room, ok := g.room(); ok {
			free = min(free, room)
		}
	}
	return free
}

func machineRoom(info string, n int64) error {
	if free, ok := memAvailable(info); ok && n > free {
		return fmt.Errorf("the machine has %d bytes available (MemAvailable): %w", free, ErrNoMemory)
	}
	return nil
}

func memAvailable(info string) (int64, bool) {
	f, err := os.Open(info)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "MemAvailable:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err == nil
		}
	}
	return 0, false
}

func cgroupRoom(self, root string, n int64) error {
	for _, g := range cgroups(self, root) {
		if room, ok := g.room(); ok && n > room {
			return fmt.Errorf("%s leaves room for %d bytes: raise the limit: %w", g.limit, room, ErrNoMemory)
		}
	}
	return nil
}

// cgroup is one folder of the memory controller, in version 1 or 2.
type cgroup struct {
	dir, limit, usage string
	prefix            string // of the keys in memory.stat that count the folders below too
}

// cgroups returns those above this process, its own first.
func cgroups(self, root string) []cgroup {
	text, err := os.ReadFile(self)
	if err != nil {
		return nil
	}
	var out []cgroup
	for _, line := range strings.Split(string(text), "\n") {
		id, rest, _ := strings.Cut(line, ":")
		controllers, path, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		base, v2 := "", false
		switch {
		case id == "0" && controllers == "":
			base, v2 = root, true
			if _, err := os.Stat(filepath.Join(root, "unified")); err == nil {
				base = filepath.Join(root, "unified")
			}
		case strings.Contains(","+controllers+",", ",memory,"):
			base = filepath.Join(root, "memory")
		default:
			continue
		}
		// A process outside its cgroup namespace's root has "/.." in its path:
		// what is above cannot be seen here.
		for dir := filepath.Join(base, filepath.Join("/", path)); strings.HasPrefix(dir, base); dir = filepath.Dir(dir) {
			out = append(out, newCgroup(dir, v2))
			if dir == base {
				break
			}
		}
	}
	return out
}

func newCgroup(dir string, v2 bool) cgroup {
	if v2 {
		return cgroup{dir, filepath.Join(dir, "memory.max"), filepath.Join(dir, "memory.current"), ""}
	}
	return cgroup{dir, filepath.Join(dir, "memory.limit_in_bytes"), filepath.Join(dir, "memory.usage_in_bytes"), "total_"}
}

// room is what the limit leaves, with what the kernel can reclaim at once.
func (g cgroup) room() (int64, bool) {
	limit, ok := readNumber(g.limit)
	if !ok || limit > 1<<60 { // "max", or version 1's way to say so
		return 0, false
	}
	used, ok := readNumber(g.usage)
	if !ok {
		return 0, false
	}
	return max(0, limit-used+g.reclaimable()), true
}

// reclaimable is the page cache that goes before anybody is killed: all that is
// inactive and, as MemAvailable has it, half of what is active.
func (g cgroup) reclaimable() int64 {
	text, err := os.ReadFile(filepath.Join(g.dir, "memory.stat"))
	if err != nil {
		return 0
	}
	var sum int64
	for line := range strings.Lines(string(text)) {
		key, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, _ := strconv.ParseInt(number, 10, 64)
		switch key {
		case g.prefix + "inactive_file":
			sum += n
		case g.prefix + "active_file":
			sum += n / 2
		}
	}
	return sum
}

func readNumber(path string) (int64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}
