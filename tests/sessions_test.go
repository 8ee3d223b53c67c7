// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// WriterArgs say what to write where.
type WriterArgs struct {
	Path  string
	Bytes []byte
}

// WriteMapped makes a file, sizes it by ftruncate, maps it, closes it, and writes
// through the mapping, which stays.
func (r *reading) WriteMapped(a WriterArgs, id *int) error {
	fd, err := unix.Open(a.Path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return coded(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(len(a.Bytes))); err != nil {
		return coded(err)
	}
	m, err := unix.Mmap(fd, 0, len(a.Bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return coded(err)
	}
	copy(m, a.Bytes)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	*id = r.next
	r.maps[*id] = m
	return nil
}

// WriteArgs say what to do with a file of a session.
type WriteArgs struct {
	Path  string
	Flags int
	Size  int64 // ftruncate
	At    int64 // pwrite of Bytes
	Bytes []byte
	Punch bool // a hole
}

// Write opens a file, sizes it, and writes.
func (*reading) Write(a WriteArgs, _ *None) error {
	fd, err := unix.Open(a.Path, a.Flags|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return coded(err)
	}
	defer unix.Close(fd)
	if a.Size >= 0 {
		if err := unix.Ftruncate(fd, a.Size); err != nil {
			return coded(err)
		}
	}
	if a.Punch {
		return coded(unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096))
	}
	if len(a.Bytes) > 0 {
		_, err = unix.Pwrite(fd, a.Bytes, a.At)
	}
	return coded(err)
}

func (r *reader) put(a WriteArgs) error {
	_, err := call[WriteArgs, None](r, "Write", a)
	return err
}

// TestSession: what one process writes through a mapping, another one maps and reads
// while it is written; both see the same memory.
func TestSession(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start()
		d.shell("mkdir " + d.at("sessions/camera"))
		path := d.at("sessions/camera/frame")
		writer := startReader(t, m.uid)
		content := weights.Pattern(1, 3*small)
		id := must(call[WriterArgs, int](writer, "WriteMapped", WriterArgs{path, content}))(t)
		mine := must(d.attach(path))(t)
		if got := must(d.sum(mine))(t); got != digest(content) {
			t.Error("the reader maps other bytes")
		}
		if got := must(d.read(path))(t); !bytes.Equal(got, content) {
			t.Error("read() gives other bytes")
		}
		if s := d.status(); s.Memory.Session != 3*small {
			t.Errorf("session_bytes is %d, want %d", s.Memory.Session, 3*small)
		}
		if got, _ := d.get(d.at("sessions/camera"), "bytes"); got != fmt.Sprint(3*small) {
			t.Errorf("bytes of the session is %s", got)
		}
		d.shell("rm -r " + d.at("sessions/camera"))
		if got := must(d.sum(mine))(t); got != digest(content) {
			t.Error("after rm the reader has other bytes")
		}
		if n := d.status().Memory.MappedAfterEviction; n != 3*small {
			t.Errorf("mapped_after_eviction_bytes is %d, want %d", n, 3*small)
		}
		if err := errors.Join(writer.unmap(id), d.unmap(mine)); err != nil {
			t.Error(err)
		}
		eventually(t, patience, "its memory is free", func() bool { s := d.status().Memory; return s.Session+s.MappedAfterEviction == 0 })
	})
}

// TestSessionQuota: what does not fit is ENOSPC, whichever way a file grows, and what
// is there stays; nothing shrinks.
// The control: the same within the quota.
func TestSessionQuota(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start("--session-quota", "4MiB")
		d.shell("mkdir " + d.at("sessions/s"))
		path := func(name string) string { return d.at("sessions/s", name) }
		const create = unix.O_RDWR | unix.O_CREAT
		for what, a := range map[string]WriteArgs{
			"ftruncate":        {Path: path("a"), Flags: create, Size: 5 * small},
			"one byte far off": {Path: path("b"), Flags: create, Size: -1, At: 5*small - 1, Bytes: []byte{1}},
			"write":            {Path: path("c"), Flags: create, Size: -1, Bytes: make([]byte, 5*small)},
		} {
			if err := d.put(a); !errors.Is(err, unix.ENOSPC) && what != "write" {
				t.Errorf("%s over the quota: %v, want ENOSPC", what, err)
			}
		}
		d.shell("rm -f " + path("*"))
		good := WriteArgs{Path: path("a"), Flags: create, Size: 3 * small, Bytes: []byte("begin")}
		if err := d.put(good); err != nil {
			t.Errorf("within the quota: %v", err)
		}
		if err := d.put(WriteArgs{Path: path("b"), Flags: create, Size: 2 * small}); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("two files over the quota: %v, want ENOSPC", err)
		}
		for what, a := range map[string]WriteArgs{
			"a smaller size": {Path: path("a"), Flags: unix.O_RDWR, Size: small},
			"a hole":         {Path: path("a"), Flags: unix.O_RDWR, Size: -1, Punch: true},
		} {
			if err := d.put(a); !errors.Is(err, unix.EPERM) {
				t.Errorf("%s: %v, want EPERM", what, err)
			}
		}
		if err := d.set(d.at("sessions/s"), "quota", fmt.Sprint(6*small)); err != nil {
			t.Error(err)
		}
		if err := d.put(WriteArgs{Path: path("b"), Flags: create, Size: 2 * small}); err != nil {
			t.Errorf("with a larger quota: %v", err)
		}
		id := must(d.attach(path("a")))(t)
		before := must(d.sum(id))(t)
		if err := d.put(WriteArgs{Path: path("a"), Flags: unix.O_RDWR | unix.O_TRUNC, Size: -1, Bytes: []byte("new")}); err != nil {
			t.Errorf("O_TRUNC: %v", err)
		}
		if got := must(d.read(path("a")))(t); string(got) != "new" {
			t.Errorf("O_TRUNC leaves %d bytes", len(got))
		}
		if got := must(d.sum(id))(t); got != before {
			t.Error("O_TRUNC changed what a reader maps")
		}
		if err := d.unmap(id); err != nil {
			t.Error(err)
		}
		for _, what := range []string{"ln -s x " + path("link"), "mkfifo " + path("pipe"), "touch " + d.at("sessions/loose")} {
			if out, err := d.shellAs(d.mode.uid, what); err == nil {
				t.Errorf("%s works: %s", what, out)
			}
		}
	})
}

// TestSessionTTL: a session goes when nobody has had anything in it open or mapped
// for its TTL; who maps keeps it without a word to the daemon.
func TestSessionTTL(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start("--session-ttl", "500ms")
		d.shell(fmt.Sprintf("mkdir %s %s", d.at("sessions/idle"), d.at("sessions/used")))
		writer := startReader(t, m.uid)
		content := weights.Pattern(1, small)
		id := must(call[WriterArgs, int](writer, "WriteMapped", WriterArgs{d.at("sessions/used/f"), content}))(t)
		start := time.Now()
		eventually(t, patience, "the idle one is gone", func() bool {
			_, err := d.stat(d.at("sessions/idle"))
			return errors.Is(err, os.ErrNotExist)
		})
		time.Sleep(time.Until(start.Add(1200 * time.Millisecond)))
		if _, err := d.stat(d.at("sessions/used")); err != nil {
			t.Errorf("the one that is mapped: %v", err)
		}
		if err := writer.unmap(id); err != nil {
			t.Fatal(err)
		}
		eventually(t, patience, "the other one is gone too", func() bool {
			_, err := d.stat(d.at("sessions/used"))
			return errors.Is(err, os.ErrNotExist) && d.status().Memory.Session == 0
		})
	})
}

// TestSessionsOfOthers: with --allow-other everybody makes sessions, which are closed
// to others unless their mode opens them; and nobody's objects are anybody else's.
func TestSessionsOfOthers(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start("--allow-other")
		one, two := startReader(t, 1001), startReader(t, 1002)
		for _, line := range []string{
			"umask 077; mkdir " + d.at("sessions/private") + " && echo secret >" + d.at("sessions/private/f"),
			"umask 022; mkdir " + d.at("sessions/open") + " && echo shared >" + d.at("sessions/open/f"),
			"mkdir " + d.at("models/mine") + " && echo weights >" + d.at("models/mine/w.gguf"),
			"echo mine >" + d.at("objects/1001/.x") + " && mv " + d.at("objects/1001/.x") + " " + d.at("objects/1001/key"),
		} {
			if out, err := d.shellAs(1001, line); err != nil {
				t.Fatalf("%s: %v %s", line, err, out)
			}
		}
		if st := must(one.stat(d.at("sessions/private/f")))(t); st.Uid != 1001 || st.Mode&0o777 != 0o600 {
			t.Errorf("the file is of %d with mode %o", st.Uid, st.Mode)
		}
		if got := must(one.read(d.at("objects/1001/key")))(t); string(got) != "mine\n" {
			t.Errorf("his own object is %q", got)
		}
		for path, want := range map[string]error{
			"sessions/private/f": unix.EACCES, "objects/1001/key": unix.EACCES, "objects/1002": nil, "sessions/open/f": nil, "models/mine/w.gguf": nil,
		} {
			fd, err := two.open(d.at(path), unix.O_RDONLY)
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("another one opens %s: %v, want %v", path, err, want)
			}
			if err == nil {
				_ = two.close(fd)
			}
		}
		for _, line := range []string{
			"rm -r " + d.at("models/mine"), "rm " + d.at("models/mine/w.gguf"), "echo x >" + d.at("models/mine/other"), "mv " + d.at("models/mine") + " " + d.at("models/yours"),
			"rm " + d.at("sessions/open/f"), "echo x >>" + d.at("sessions/open/f"), "rmdir " + d.at("sessions/open"), "setfattr -n user.modelfs.quota -v 1 " + d.at("sessions/open"),
			"mkdir " + filepath.Join(d.mount, "objects/1003"), "echo x >" + d.at("objects/1001/y"),
		} {
			if out, err := d.shellAs(1002, line); err == nil {
				t.Errorf("another one may %s: %s", line, out)
			}
		}
	}, normal, noPassthrough)
}
