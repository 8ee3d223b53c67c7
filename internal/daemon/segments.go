// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tensors/shm"
)

// runDir is where root's daemons keep their segments and locks.
const runDir = "/run/modelfs"

// place is the fixed place, made from the mount point, of a daemon's segments:
// the next daemon of the same mount point finds what a killed one left. Only
// root has one; other users' segments are memfds.
type place struct {
	dir  string // the segments' tmpfs
	lock *os.File
}

// claim takes the place of a mount point. A daemon that is alive holds a lock on
// it, which dies with it.
func claim(mountPoint string) (*place, error) {
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		return nil, fmt.Errorf("place for segments: %w", err)
	}
	base := filepath.Join(runDir, placeName(mountPoint))
	lock, err := lockFile(base+".lock", mountPoint)
	if err != nil {
		return nil, err
	}
	_ = lock.Truncate(0)
	_, _ = fmt.Fprintln(lock, os.Getpid())
	p := &place{dir: base + ".segments", lock: lock}
	if err := shm.CleanStale(p.dir); err != nil {
		p.release()
		return nil, fmt.Errorf("segments of a daemon that died: %w", err)
	}
	return p, nil
}

// Clear takes away what a killed daemon of a mount point left, and says whether
// there was anything. What belongs to a daemon that is alive stays.
func Clear(mountPoint string) (found bool, err error) {
	written := clearShared(mountPoint)
	base := filepath.Join(runDir, placeName(mountPoint))
	for _, path := range []string{base + ".lock", base + ".segments"} {
		if _, err := os.Lstat(path); err == nil {
			found = true
		}
	}
	if !found {
		return written, nil
	}
	p, err := claim(mountPoint)
	if errors.Is(err, ErrMountPoint) {
		return written, nil
	}
	if err != nil {
		return false, err
	}
	p.release()
	return true, nil
}

// lockFile opens and locks path. The last owner removes its file while it holds
// the lock, so a lock on a file that has lost its name is tried again.
func lockFile(path, mountPoint string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("place for segments: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			_ = f.Close()
			if !errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("lock %s: %w", path, err)
			}
			text, _ := os.ReadFile(path)
			pid := strings.TrimSpace(string(text))
			return nil, fmt.Errorf("%w: the daemon of %s (pid %s) is still alive; it ends when its last mapping does, or: kill %s",
				ErrMountPoint, mountPoint, pid, pid)
		}
		mine, err1 := f.Stat()
		named, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, named) {
			return f, nil
		}
		_ = f.Close()
	}
}

// openNodes makes the journal of node ids, which lies with the segments and goes
// with them.
func (p *place) openNodes() (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(p.dir, "nodes"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal of nodes: %w", err)
	}
	return f, nil
}

// release gives the place back. The lock's file goes first, while it is held.
func (p *place) release() {
	_ = os.Remove(p.lock.Name())
	_ = p.lock.Close()
	_ = os.Remove(runDir) // stays while another daemon has something in it
}

// placeName keeps the end of the path readable and the whole of it unique.
func placeName(mountPoint string) string {
	sum := sha256.Sum256([]byte(mountPoint))
	readable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.':
			return r
		}
		return '-'
	}, strings.Trim(mountPoint, "/"))
	if len(readable) > 60 {
		readable = readable[len(readable)-60:]
	}
	return readable + "-" + hex.EncodeToString(sum[:6])
}
