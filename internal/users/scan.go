// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package users

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"time"
)

// Use is what one process has of one inode.
type Use struct {
	Inode  uint64
	Mapped int64 // bytes of address space, all mappings of the inode together
	Open   bool  // a descriptor is open
}

// Process is one process that uses the mount.
type Process struct {
	PID, UID int
	Command  string
	Uses     []Use
}

// Scanner finds the users of the inodes with one prefix.
type Scanner struct {
	prefix uint32
	self   int

	mu    sync.Mutex
	at    time.Time
	procs []Process
}

// keep is how long a scan is good for.
const keep = 500 * time.Millisecond

// NewScanner looks for inodes whose upper 32 bits are prefix.
func NewScanner(prefix uint32) *Scanner {
	return &Scanner{prefix: prefix, self: os.Getpid()}
}

// Processes returns those that have something of the mount open or mapped, as
// of at most half a second ago. The result is shared: do not change it.
func (s *Scanner) Processes() []Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.procs == nil || time.Since(s.at) > keep {
		s.procs = s.scan()
		s.at = time.Now()
	}
	return s.procs
}

// Forget makes the next call look again.
func (s *Scanner) Forget() {
	s.mu.Lock()
	s.procs = nil
	s.mu.Unlock()
}

func (s *Scanner) scan() []Process {
	found := []Process{}
	dir, err := os.Open("/proc")
	if err != nil {
		return found
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var buf buffer
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == s.self {
			continue
		}
		uses := s.uses(name, &buf)
		if len(uses) == 0 {
			continue
		}
		p := Process{PID: pid, Command: command(name, &buf), UID: owner(name)}
		for _, u := range uses {
			p.Uses = append(p.Uses, *u)
		}
		found = append(found, p)
	}
	return found
}

func (s *Scanner) uses(pid string, buf *buffer) map[uint64]*Use {
	var uses map[uint64]*Use
	use := func(ino uint64) *Use {
		if uses == nil {
			uses = make(map[uint64]*Use)
		}
		u := uses[ino]
		if u == nil {
			u = &Use{Inode: ino}
			uses[ino] = u
		}
		return u
	}
	for line := range bytes.Lines(buf.read("/proc/" + pid + "/maps")) {
		if ino, size, ok := s.mapping(line); ok {
			use(ino).Mapped += size
		}
	}
	fds, err := os.Open("/proc/" + pid + "/fd")
	if err != nil {
		return uses
	}
	defer fds.Close()
	names, _ := fds.Readdirnames(-1)
	for _, fd := range names {
		if !file(pid, fd) {
			continue
		}
		if ino, ok := s.descriptor(buf.read("/proc/" + pid + "/fdinfo/" + fd)); ok {
			use(ino).Open = true
		}
	}
	return uses
}

// mapping reads one line of maps: "start-end perms offset dev inode path".
func (s *Scanner) mapping(line []byte) (ino uint64, size int64, ok bool) {
	fields := bytes.Fields(line)
	if len(fields) < 5 || len(fields[4]) < 10 { // a prefixed inode is a long number
		return 0, 0, false
	}
	ino, err := strconv.ParseUint(string(fields[4]), 10, 64)
	if err != nil || uint32(ino>>32) != s.prefix {
		return 0, 0, false
	}
	from, to, _ := bytes.Cut(fields[0], []byte("-"))
	a, err1 := strconv.ParseUint(string(from), 16, 64)
	b, err2 := strconv.ParseUint(string(to), 16, 64)
	if err1 != nil || err2 != nil {
		return 0, 0, false
	}
	return ino, int64(b - a), true
}

func (s *Scanner) descriptor(info []byte) (uint64, bool) {
	_, rest, ok := bytes.Cut(info, []byte("ino:\t"))
	if !ok {
		return 0, false
	}
	number, _, _ := bytes.Cut(rest, []byte("\n"))
	ino, err := strconv.ParseUint(string(number), 10, 64)
	return ino, err == nil && uint32(ino>>32) == s.prefix
}

// file says whether a descriptor can be one of ours, by the text of its link:
// sockets, pipes and devices are passed over without opening their fdinfo.
func file(pid, fd string) bool {
	link, err := os.Readlink("/proc/" + pid + "/fd/" + fd)
	if err != nil || link == "" || link[0] != '/' {
		return false
	}
	return !bytes.HasPrefix([]byte(link), []byte("/dev/")) && !bytes.HasPrefix([]byte(link), []byte("/proc/"))
}

func command(pid string, buf *buffer) string {
	line := bytes.TrimRight(buf.read("/proc/"+pid+"/cmdline"), "\x00")
	if len(line) == 0 {
		return string(bytes.TrimSpace(buf.read("/proc/" + pid + "/comm")))
	}
	return string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
}
