// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A file of the mount that is named again and again, as a camera's frame is, stays open
// for a little: to open and to close it are two questions to the mount's daemon, which
// cost more than all else that a call by reference does. Each call still looks up the
// path, and asks whether its caller may, with the caller's rights; that needs the kernel
// alone. What has another identity there than what is open is opened anew.
//
// Who may not keep a file of the mount from going by having named it: few stay open,
// and not for long. Handlers keep their mappings of it for longer than that.
const (
	latelyIdle = 2 * time.Second
	latelyMost = 64
)

// lately are the files that were opened lately.
type lately struct {
	mu     sync.Mutex
	files  map[identity]*open // guarded by mu
	sweep  *time.Timer        // guarded by mu; nil: nothing is idle
	closed bool               // guarded by mu
}

// open is an open file, for all calls that name it.
type open struct {
	file *os.File
	st   unix.Statx_t

	// guarded by lately.mu:
	users int
	used  time.Time
	kept  bool // it is in lately.files
}

func newLately() *lately { return &lately{files: make(map[identity]*open)} }

// take returns a file that is open; nil if it is not.
func (l *lately) take(id identity) *open {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.files[id]
	if o != nil {
		o.users++
	}
	return o
}

// add has a file that somebody uses now be there for others.
func (l *lately) add(id identity, f *os.File, st unix.Statx_t) *open {
	o := &open{file: f, st: st, users: 1}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed && l.files[id] == nil && len(l.files) < latelyMost {
		o.kept = true
		l.files[id] = o
	}
	return o
}

// give says that one user needs the file no more. It is closed if it is not kept.
func (l *lately) give(o *open) {
	l.mu.Lock()
	o.users--
	o.used = time.Now()
	over := o.users == 0 && !o.kept
	if !over && l.sweep == nil {
		l.sweep = time.AfterFunc(latelyIdle, l.idle)
	}
	l.mu.Unlock()
	if over {
		_ = o.file.Close()
	}
}

// idle closes what nobody has used for a while.
func (l *lately) idle() {
	now := time.Now()
	l.mu.Lock()
	over := l.dropLocked(now.Add(-latelyIdle))
	l.sweep = nil
	if len(l.files) > 0 {
		l.sweep = time.AfterFunc(latelyIdle, l.idle)
	}
	l.mu.Unlock()
	closeAll(over)
}

// close closes all that nobody uses, and keeps nothing more.
func (l *lately) close() {
	l.mu.Lock()
	over := l.dropLocked(time.Now())
	for _, o := range l.files {
		o.kept = false
	}
	l.closed = true
	clear(l.files)
	if l.sweep != nil {
		l.sweep.Stop()
	}
	l.mu.Unlock()
	closeAll(over)
}

// dropLocked takes out what nobody uses, nor has since.
func (l *lately) dropLocked(since time.Time) (over []*open) {
	for id, o := range l.files {
		if o.users == 0 && !o.used.After(since) {
			delete(l.files, id)
			o.kept = false
			over = append(over, o)
		}
	}
	return over
}

func closeAll(list []*open) {
	for _, o := range list {
		_ = o.file.Close()
	}
}

// lookBelow says which file a place is, if it may be opened with the rights of this
// process: it is looked at and not opened. An error says nothing: opening says it.
func lookBelow(root string, p Place, write bool, who *patient) (identity, error) {
	dir, err := openFolder(folderOf(root, p))
	if err != nil {
		return identity{}, err
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: beneath}
	fd, err := who.again(func() (int, error) { return unix.Openat2(dir, p.path, &how) })
	if err != nil {
		return identity{}, err
	}
	defer unix.Close(fd)
	access := uint32(unix.R_OK)
	if write {
		access |= unix.W_OK
	}
	if err := unix.Faccessat2(fd, "", access, unix.AT_EMPTY_PATH|unix.AT_EACCESS); err != nil {
		return identity{}, err
	}
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, identified, &st); err != nil {
		return identity{}, err
	}
	return identityOf(&st, write), nil
}
