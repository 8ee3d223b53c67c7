// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// me is who makes things in these tests: an unprivileged daemon keeps nobody else's.
var me = Owner{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())}

var background = context.Background()

// budget is a Room of so many bytes. It knows who has what, and fails a test that
// gives back what it has not.
type budget struct {
	t *testing.T

	mu   sync.Mutex
	free int64
	has  map[string]int64
}

func (b *budget) Reserve(_ context.Context, name string, bytes int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bytes > b.free {
		return fmt.Errorf("%d bytes are free, %d are wanted", b.free, bytes)
	}
	b.free -= bytes
	b.has[name] += bytes
	return nil
}

func (b *budget) Unreserve(name string, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bytes < 0 || b.has[name] < bytes {
		b.t.Errorf("%s gives %d bytes back and has %d", name, bytes, b.has[name])
	}
	b.free += bytes
	if b.has[name] -= bytes; b.has[name] == 0 {
		delete(b.has, name)
	}
}

func (b *budget) total() (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, bytes := range b.has {
		n += bytes
	}
	return n
}

// cache is what sealed files are given to: it reads them by a descriptor of its own.
type cache struct {
	*budget

	mu      sync.Mutex
	refuse  bool          // they stay with the area
	hold    chan struct{} // Sealed waits for it to be closed,
	late    bool          // with the file taken over
	sealed  []string
	removed []string
	went    []string // by themselves
	adopted map[string]int64
}

func (k *cache) adopt(file File) (Keeper, error) {
	p := file.Path
	k.mu.Lock()
	k.sealed = append(k.sealed, p)
	hold, late, refuse := k.hold, k.late, k.refuse
	k.mu.Unlock()
	wait := func() {
		if hold != nil {
			<-hold
		}
	}
	if !late {
		wait()
	}
	if refuse {
		return nil, nil
	}
	f, err := os.Open(file.Disk)
	if err != nil {
		return nil, err
	}
	k.Unreserve(file.Account, file.Charged)
	k.mu.Lock()
	k.adopted[p] = file.Charged
	k.mu.Unlock()
	if late {
		wait()
	}
	return &kept{k, p, f}, nil
}

// kept is a file that the cache has.
type kept struct {
	cache *cache
	path  string
	file  *os.File
}

func (k *kept) Open(context.Context) (Content, error) { return adopted{k.file}, nil }

func (k *kept) Lost() {
	k.cache.mu.Lock()
	defer k.cache.mu.Unlock()
	delete(k.cache.adopted, k.path)
	_ = k.file.Close()
}

func (k *cache) wentAway(p string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.went = append(k.went, p)
}

type adopted struct{ *os.File }

func (a adopted) OpenBacking() (int, error) { return -1, errors.New("not here") }
func (a adopted) Close()                    {}

func (k *cache) gone(p string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.removed = append(k.removed, p)
}

// bench is an area in a folder of the tmpfs that every Linux has.
type bench struct {
	*Area
	t     *testing.T
	cache *cache
}

const room = 64 << 20

// newBench makes one, whose invariants are checked at the end of the test.
func newBench(t *testing.T, cfg Config) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "modelfs-scratch-test-") //nolint:usetesting // TempDir's may be on a disk
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	k := &cache{budget: &budget{t: t, free: room, has: make(map[string]int64)}, adopted: make(map[string]int64)}
	cfg.Dir, cfg.Mode, cfg.Room = filepath.Join(dir, "area"), 0o755, k
	cfg.Sealed, cfg.Removed, cfg.Gone = k.adopt, k.gone, k.wentAway
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.Extend = func(f *os.File, from, to int64) error {
		if err := f.Truncate(to); err != nil {
			return err
		}
		return unix.Fallocate(int(f.Fd()), 0, from, to-from)
	}
	cfg.GiveAway = os.Geteuid() == 0
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Area: a, t: t, cache: k}
	t.Cleanup(func() { b.check(); b.Close() })
	return b
}

// check sees that what is charged is what there is, in the area, in the budget and in
// the sessions, and that nothing else is on disk or open.
func (b *bench) check() {
	b.t.Helper()
	b.Area.mu.Lock()
	defer b.Area.mu.Unlock()
	if got, want := b.charged.Load(), b.cache.total(); got != want {
		b.t.Errorf("the area has charged %d bytes, the budget %d", got, want)
	}
	files := 0
	err := filepath.WalkDir(filepath.Dir(b.cfg.Dir), func(_ string, d iofs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files++
		}
		return err
	})
	nodes := 0
	var count func(n *Node)
	count = func(n *Node) {
		if !n.folder {
			nodes++
		}
		for _, kid := range n.kids {
			count(kid)
		}
	}
	count(b.root)
	if err != nil || files != nodes {
		b.t.Errorf("%d files have a name, %d are on disk (%v)", nodes, files, err)
	}
}

// nothingLeft is check where nothing should be.
func (b *bench) nothingLeft() {
	b.t.Helper()
	b.check()
	if b.Bytes() != 0 || b.Lingering() != 0 || b.cache.total() != 0 {
		b.t.Errorf("left: %d bytes, %d lingering, %d of the budget", b.Bytes(), b.Lingering(), b.cache.total())
	}
	if fds := descriptors(b.t, b.cfg.Dir); len(fds) > 0 {
		b.t.Errorf("still open: %s", fds)
	}
}

// descriptors are this process's that are open below a folder.
func descriptors(t *testing.T, dir string) (open []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && bytes.HasPrefix([]byte(to), []byte(filepath.Dir(dir)+"/")) {
			open = append(open, to)
		}
	}
	return open
}

// mkdir makes a folder below the root.
func (b *bench) mkdir(parent *Node, name string) *Node {
	b.t.Helper()
	n, err := parent.Mkdir(name, 0o755, me)
	if err != nil {
		b.t.Fatalf("mkdir %s: %v", name, err)
	}
	return n
}

// create makes a file with some bytes; its writer stays open.
func (b *bench) create(parent *Node, name string, content []byte) (*Node, *Handle) {
	b.t.Helper()
	n, h, err := parent.Create(name, 0o644, me)
	if err != nil {
		b.t.Fatalf("create %s: %v", name, err)
	}
	if len(content) > 0 {
		if _, err := h.WriteAt(content, 0); err != nil {
			b.t.Fatalf("write %s: %v", name, err)
		}
	}
	return n, h
}

// write makes a file that nobody has open.
func (b *bench) write(parent *Node, name string, content []byte) *Node {
	b.t.Helper()
	n, h := b.create(parent, name, content)
	h.Close()
	return n
}

func (b *bench) remove(parent *Node, name string, folder bool) {
	b.t.Helper()
	if err := parent.Remove(name, folder); err != nil {
		b.t.Errorf("remove %s: %v", name, err)
	}
}

// read reads all that a file has.
func read(t *testing.T, c Content) []byte {
	t.Helper()
	got, err := io.ReadAll(io.NewSectionReader(c, 0, 1<<40))
	if err != nil {
		t.Errorf("read: %v", err)
	}
	return got
}

// mapping is a mapping for writing of a file, as passthrough makes it: a descriptor of
// the backing, mapped and closed.
func (b *bench) mapping(h *Handle, size int) (unmap func()) {
	b.t.Helper()
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", h.file.Fd()), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	m, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		b.t.Fatal(err)
	}
	return func() { _ = unix.Munmap(m) }
}

func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return p
}

// soon waits until something holds.
func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for start := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 5*time.Second {
			t.Fatal("not soon: " + what)
		}
	}
}
