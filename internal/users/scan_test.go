// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package users

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

func TestMapping(t *testing.T) {
	s := &Scanner{prefix: 0x5eed0001}
	ino := uint64(0x5eed0001)<<32 | 7
	for _, c := range []struct {
		line string
		ino  uint64
		size int64
		ok   bool
	}{
		{"7f0000000000-7f0000200000 r--s 00000000 00:2b 6840123413340618759 /mnt/models/m/model.safetensors\n", ino, 2 << 20, true},
		{"7f0000000000-7f0000001000 r--s 00000000 00:2b 6840123413340618759 /mnt/a b (deleted)\n", ino, 4096, true},
		{"7f0000000000-7f0000001000 r--s 00000000 00:2b 6840123417635586055 /mnt/another/prefix\n", 0, 0, false},
		{"7f0000000000-7f0000001000 r-xp 00000000 fe:00 1311 /usr/lib/libc.so.6\n", 0, 0, false},
		{"7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]\n", 0, 0, false},
		{"garbage\n", 0, 0, false},
	} {
		got, size, ok := s.mapping([]byte(c.line))
		if ok != c.ok || ok && (got != c.ino || size != c.size) {
			t.Errorf("mapping(%q) = %#x, %d, %v; want %#x, %d, %v", c.line, got, size, ok, c.ino, c.size, c.ok)
		}
	}
}

func TestDescriptor(t *testing.T) {
	s := &Scanner{prefix: 0x5eed0001}
	got, ok := s.descriptor([]byte("pos:\t0\nflags:\t0100000\nmnt_id:\t33\nino:\t6840123413340618759\n"))
	if want := uint64(0x5eed0001)<<32 | 7; !ok || got != want {
		t.Errorf("descriptor = %#x, %v; want %#x", got, ok, want)
	}
	if _, ok := s.descriptor([]byte("pos:\t0\nino:\t1311\n")); ok {
		t.Error("an inode of another filesystem was taken for ours")
	}
}

// A child that holds a real file open is found, by the upper half of the file's
// own inode number, and is gone when it ends.
func TestProcesses(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "held")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ino := inode(t, f)
	s := NewScanner(uint32(ino >> 32))
	child := exec.Command("sleep", "60")
	child.Stdin = f
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() {
		if !ended {
			ended = true
			_ = child.Process.Kill()
			_ = child.Wait()
		}
	}
	defer end()
	holds := func() bool {
		s.Forget()
		return slices.ContainsFunc(s.Processes(), func(p Process) bool {
			return p.PID == child.Process.Pid && p.Command == "sleep 60" && p.UID == os.Getuid() &&
				slices.ContainsFunc(p.Uses, func(u Use) bool { return u.Inode == ino && u.Open })
		})
	}
	if !holds() {
		t.Error("the child that holds the file was not found")
	}
	end()
	if holds() {
		t.Error("a dead child was found")
	}
}

func TestGroups(t *testing.T) {
	want, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	got := Groups(uint32(os.Getpid()))
	for _, g := range want {
		if !slices.Contains(got, uint32(g)) {
			t.Errorf("Groups = %v lacks %d", got, g)
		}
	}
	if Groups(0) != nil {
		t.Error("a process that does not exist has groups")
	}
}
