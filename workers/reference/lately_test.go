// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/workers/call"
)

// forget closes what was opened lately, as time does.
func (f *fixture) forget() {
	f.late.mu.Lock()
	over := f.late.dropLocked(time.Now())
	f.late.mu.Unlock()
	closeAll(over)
}

// kept is how many files are open for the next call.
func (f *fixture) kept() int {
	f.late.mu.Lock()
	defer f.late.mu.Unlock()
	return len(f.late.files)
}

// TestLately: a file that is named again is the same descriptor, and another file of the
// same path, size or not, is another.
func TestLately(t *testing.T) {
	f := newFixture(t)
	f.folder("sessions/s", 0o700, f.me())
	const path = "sessions/s/x"
	f.file(path, []byte("first"), 0o600, f.me())
	read := func() (*os.File, string) {
		t.Helper()
		r, err := f.Opener.Output(t.Context(), f.me(), call.Ref{Path: path, Bytes: -1})
		f.do(err)
		defer r.Close()
		to := make([]byte, r.Place().Bytes)
		_, err = r.Read(to)
		f.do(err)
		return r.Place().File.FD, string(to)
	}
	first, text := read()
	if again, same := read(); again != first || text != "first" || same != "first" {
		t.Errorf("%q, and %q by another descriptor: %v", text, same, again != first)
	}
	f.do(os.WriteFile(f.at(path), []byte("second!"), 0o600))
	if _, text := read(); text != "second!" {
		t.Errorf("a file that grew: %q", text)
	}
	f.do(os.WriteFile(f.at("sessions/s/y"), []byte("third!!"), 0o600), os.Rename(f.at("sessions/s/y"), f.at(path)))
	if _, text := read(); text != "third!!" {
		t.Errorf("another file of the path: %q", text)
	}
	f.do(os.Remove(f.at(path)))
	if _, err := f.Opener.Output(t.Context(), f.me(), call.Ref{Path: path, Bytes: -1}); !errors.Is(err, ErrNotExist) {
		t.Errorf("a file that is gone: %v", err)
	}
	f.do(f.Close())
	if n := f.kept(); n != 0 {
		t.Errorf("%d files are open after Close", n)
	}
	if _, err := unix.FcntlInt(first.Fd(), unix.F_GETFD, 0); err == nil {
		t.Error("the first descriptor is open after Close")
	}
}

// TestLatelyIdle: what nobody uses is closed, what somebody uses is not.
func TestLatelyIdle(t *testing.T) {
	f := newFixture(t)
	f.folder("sessions/s", 0o700, f.me())
	f.file("sessions/s/x", []byte("x"), 0o600, f.me())
	synctest.Test(t, func(t *testing.T) {
		l := newLately()
		file, err := os.Open(f.at("sessions/s/x"))
		if err != nil {
			t.Fatal(err)
		}
		o := l.add(identity{inode: 1}, file, unix.Statx_t{})
		time.Sleep(2 * latelyIdle)
		if l.take(identity{inode: 1}) != o {
			t.Error("it is not there, though somebody uses it")
		}
		l.give(o)
		l.give(o)
		time.Sleep(latelyIdle / 2)
		if l.take(identity{inode: 1}) != o {
			t.Error("it is not there any more")
		}
		l.give(o)
		time.Sleep(2*latelyIdle + 1)
		if l.take(identity{inode: 1}) != nil || file.Close() == nil {
			t.Error("it is open still")
		}
		synctest.Wait()
	})
}

// TestLatelyMost: few stay open.
func TestLatelyMost(t *testing.T) {
	l := newLately()
	for i := range latelyMost + 3 {
		file, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		o := l.add(identity{inode: uint64(i)}, file, unix.Statx_t{})
		l.give(o)
		if kept := file.Close() == nil; kept != (i < latelyMost) {
			t.Errorf("file %d is kept: %v", i, kept)
		}
	}
	l.close()
}
