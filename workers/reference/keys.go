// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"sync"

	"golang.org/x/sys/unix"
)

// identity is what makes a file the same to a handler that has it mapped. Inode numbers
// of a mount are not used twice while it lives, and no other mount has its number.
type identity struct {
	mount, inode uint64
	major, minor uint32
	size         uint64
	write        bool
}

func identityOf(st *unix.Statx_t, write bool) identity {
	return identity{mount: st.Mnt_id, inode: st.Ino, major: st.Dev_major, minor: st.Dev_minor, size: st.Size, write: write}
}

// known is what is kept of a file. It does not change.
type known struct {
	key uint64
	// says is what its attributes said when they were read last; nil: they were not.
	says *description
}

// files remembers the files that were opened lately, by what makes them the same. One
// that is forgotten gets another key: a handler maps it once more.
type files struct {
	next func() uint64

	mu       sync.Mutex
	now, old map[identity]known // guarded by mu: old is dropped when now is full
}

const generation = 4096

func newFiles(next func() uint64) *files {
	return &files{next: next, now: map[identity]known{}}
}

// find returns what is known of a file, which is at least a key.
func (f *files) find(id identity) known {
	f.mu.Lock()
	defer f.mu.Unlock()
	k, ok := f.now[id]
	if ok {
		return k
	}
	if k, ok = f.old[id]; !ok {
		k.key = f.next()
	}
	f.addLocked(id, k)
	return k
}

// add notes what a file's attributes say.
func (f *files) add(id identity, says *description) {
	k := f.find(id)
	k.says = says
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addLocked(id, k)
}

func (f *files) addLocked(id identity, k known) {
	if len(f.now) >= generation {
		f.now, f.old = make(map[identity]known, generation), f.now
	}
	f.now[id] = k
}
