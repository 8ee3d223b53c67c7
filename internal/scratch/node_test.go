// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNames: any name that the kernel takes is taken, whatever bytes it has and
// whatever it looks like; a longer one is refused.
func TestNames(t *testing.T) {
	b := newBench(t, Config{Kind: Models, Leases: true})
	longest := strings.Repeat("n", 255)
	for _, name := range []string{"with\nnewline", "\xff\xfe", longest, ".unsealed-1", ".unsealed-2", ".unsealed-3", "a b", "…"} {
		dir := b.mkdir(b.Root(), name)
		b.mkdir(dir, ".unsealed-9")
		for range 12 { // whatever number the next one has
			b.write(dir, name, pattern(10))
			b.remove(dir, name, false)
		}
		n := b.write(dir, name, pattern(10))
		if want := !strings.HasPrefix(name, "."); n.Sealed() != want {
			t.Errorf("%q is sealed: %v", name, n.Sealed())
		}
	}
	m := b.mkdir(b.Root(), "m")
	for _, over := range []string{longest + "n", strings.Repeat("n", 1000)} {
		if _, err := b.Root().Mkdir(over, 0o755, me); !errors.Is(err, ErrName) {
			t.Errorf("mkdir of %d bytes: %v", len(over), err)
		}
		if _, _, err := m.Create(over, 0o644, me); !errors.Is(err, ErrName) {
			t.Errorf("create of %d bytes: %v", len(over), err)
		}
		b.write(m, "f", pattern(1))
		if err := m.Rename("f", m, over, false); !errors.Is(err, ErrName) {
			t.Errorf("rename to %d bytes: %v", len(over), err)
		}
		b.remove(m, "f", false)
	}
}

// TestDeep: folders nest as deep as a path can name, and no file is made or moved
// where it could not be sealed.
func TestDeep(t *testing.T) {
	b := newBench(t, Config{Kind: Models, Leases: true})
	at := b.mkdir(b.Root(), "m")
	name := strings.Repeat("d", 200)
	var err error
	for range 100 {
		var next *Node
		if next, err = at.Mkdir(name, 0o755, me); err != nil {
			break
		}
		at = next
	}
	if !errors.Is(err, ErrName) {
		t.Fatalf("without an end: %v", err)
	}
	if n := b.write(at, "f", pattern(10)); !n.Sealed() {
		t.Error("a file at the end is not sealed")
	}
	other := b.mkdir(b.Root(), "o")
	deep := b.mkdir(other, name)
	for range 3 {
		deep = b.mkdir(deep, name)
	}
	if err := other.Rename(name, at, name, false); !errors.Is(err, ErrName) {
		t.Errorf("a folder moves deeper than a path can name: %v", err)
	}
}

// TestModes: what the owner denies himself does not keep the daemon from its work,
// also where it has no privileges.
func TestModes(t *testing.T) {
	b := newBench(t, Config{Kind: Models, Leases: true})
	m := b.mkdir(b.Root(), "m")
	for _, mode := range []os.FileMode{0, 0o200, 0o400, 0o444} {
		n, h, err := m.Create("w", mode, me)
		if err != nil {
			t.Fatalf("create with mode %o: %v", mode, err)
		}
		if err := n.Resize(background, 100<<10, true); err != nil {
			t.Errorf("ftruncate with mode %o: %v", mode, err)
		}
		if err := m.Chmod(0o555); err != nil {
			t.Error(err)
		}
		h.Close()
		if !n.Sealed() {
			t.Errorf("with mode %o it is not sealed", mode)
		}
		if st, err := n.Stat(); err != nil || st.Mode&0o7777 != uint32(mode) {
			t.Errorf("mode is %o, want %o (%v)", st.Mode, mode, err)
		}
		c, err := n.Open(background, false)
		if err != nil {
			t.Errorf("open with mode %o: %v", mode, err)
		} else {
			c.Close()
		}
		if err := m.Chmod(0); err != nil {
			t.Error(err)
		}
		b.remove(m, "w", false)
	}
	if st, err := m.Stat(); err != nil || st.Mode&0o7777 != 0 {
		t.Errorf("the folder's mode is %o (%v)", st.Mode, err)
	}
	b.remove(b.Root(), "m", true)
}

// TestNoSetuid: a file carries no rights of its owner to whoever runs it; a folder
// gives its group to what is made in it.
func TestNoSetuid(t *testing.T) {
	b := newBench(t, Config{Kind: Sessions, Leases: true})
	s, err := b.Root().Mkdir("s", 0o2770, me)
	if err != nil {
		t.Fatal(err)
	}
	if b.cfg.GiveAway {
		if err := s.Chown(-1, 4711); err != nil {
			t.Fatal(err)
		}
		if err := s.Chmod(0o2770); err != nil {
			t.Fatal(err)
		}
	}
	n, h, err := s.Create("f", 0o6755, me)
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	if err := n.Chmod(0o6711); err != nil {
		t.Error(err)
	}
	st, err := n.Stat()
	if err != nil || st.Mode&0o7777 != 0o711 {
		t.Errorf("mode is %o (%v)", st.Mode&0o7777, err)
	}
	if top, err := s.Stat(); err != nil || st.Gid != top.Gid {
		t.Errorf("the group is %d, the folder's %d (%v)", st.Gid, top.Gid, err)
	}
}

// TestChown: owners change where the daemon may change them; what it may not is
// refused as the kernel refuses it, and nothing changes.
func TestChown(t *testing.T) {
	b := newBench(t, Config{Kind: Sessions, Leases: true})
	s := b.mkdir(b.Root(), "s")
	n := b.write(s, "f", pattern(1))
	b.cfg.GiveAway = false
	other := Owner{me.Uid + 1, me.Gid}
	if _, _, err := s.Create("g", 0o644, other); !errors.Is(err, os.ErrPermission) {
		t.Errorf("a file of somebody else: %v", err)
	}
	if _, err := b.Root().Mkdir("t", 0o755, other); !errors.Is(err, os.ErrPermission) {
		t.Errorf("a folder of somebody else: %v", err)
	}
	if err := n.Chown(int(me.Uid), int(me.Gid)); err != nil {
		t.Errorf("to whom it belongs: %v", err)
	}
	if os.Geteuid() != 0 {
		if err := n.Chown(4711, -1); !errors.Is(err, unix.EPERM) {
			t.Errorf("to somebody else: %v", err)
		}
	}
}

// TestRename: names move within a model and between models, over files and empty
// folders, and never take a sealed file along.
func TestRename(t *testing.T) {
	b := newBench(t, Config{Kind: Models, Leases: true})
	m, o := b.mkdir(b.Root(), ".m"), b.mkdir(b.Root(), "o")
	n := b.write(m, "w", pattern(100))
	b.write(m, "x", pattern(200))
	if err := m.Rename("x", m, "w", true); !errors.Is(err, ErrExist) {
		t.Errorf("exclusive: %v", err)
	}
	if err := m.Rename("x", m, "w", false); err != nil {
		t.Errorf("over a file: %v", err)
	}
	if _, ok := n.Path(); ok || b.Bytes() != 4096 {
		t.Errorf("the one below has a name (%v), %d bytes", ok, b.Bytes())
	}
	if err := b.Root().Rename(".m", b.Root(), "o", false); err != nil {
		t.Errorf("over an empty folder: %v", err)
	}
	if w, ok := m.Lookup("w"); !ok || !w.Sealed() {
		t.Error("not sealed under its final name")
	}
	if _, ok := o.Path(); ok {
		t.Error("the folder below has a name")
	}
	if err := b.Root().Rename("o", b.Root(), "p", false); !errors.Is(err, ErrSealed) {
		t.Errorf("a folder with a sealed file: %v", err)
	}
	if err := m.Rename("w", m, ".w", false); !errors.Is(err, ErrSealed) {
		t.Errorf("a sealed file: %v", err)
	}
	sub := b.mkdir(m, "sub")
	if err := m.Rename("sub", sub, "below", false); !errors.Is(err, ErrPlace) {
		t.Errorf("a folder into itself: %v", err)
	}
	if err := m.Rename("sub", b.Root(), "sub", false); !errors.Is(err, ErrElsewhere) {
		t.Errorf("out of the model: %v", err)
	}
}

// TestStatOfUnlinked: who has a file open can look at it when its name has gone.
func TestStatOfUnlinked(t *testing.T) {
	b := newBench(t, Config{Kind: Sessions, Leases: true})
	s := b.mkdir(b.Root(), "s")
	n, h := b.create(s, "f", pattern(100))
	b.remove(s, "f", false)
	if st, err := n.Stat(); err != nil || st.Size != 100 {
		t.Errorf("size %d, %v", st.Size, err)
	}
	if err := n.Chmod(0o600); err != nil {
		t.Errorf("fchmod: %v", err)
	}
	h.Close()
	if _, err := n.Stat(); !errors.Is(err, ErrReplaced) {
		t.Errorf("of one that nobody has: %v", err)
	}
}
