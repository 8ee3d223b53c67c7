// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/sources"
)

// Users and groups that no system has.
const (
	alice, bob, carol = 61001, 61002, 61003
	staff, guests     = 61011, 61012
)

// owned is who owns something, and its mode.
type owned struct {
	uid, gid int
	mode     uint32
}

func (p *place) give(name string, o owned) {
	p.t.Helper()
	p.check(errors.Join(os.Chown(p.path(name), o.uid, o.gid), unix.Chmod(p.path(name), o.mode)))
}

// TestMode: owner, group and mode are the file's, less what the folders above
// deny to a class.
func TestMode(t *testing.T) {
	needRoot(t)
	root := func(mode uint32) owned { return owned{0, 0, mode} }
	for _, c := range []struct {
		name    string
		folders []owned // from the top, the last one the model's
		file    owned
		want    uint32
	}{
		{"open", []owned{root(0o755)}, root(0o644), 0o644},
		{"a private file", []owned{root(0o755)}, root(0o600), 0o600},
		{"for a group", []owned{root(0o755)}, owned{0, staff, 0o640}, 0o640},
		{"for nobody", []owned{root(0o755)}, owned{alice, staff, 0}, 0},
		{"executable", []owned{root(0o755)}, root(0o755), 0o755},
		{"setuid and sticky", []owned{root(0o755)}, owned{alice, staff, 0o7755}, 0o7755},
		{"a folder that is passed, not listed", []owned{root(0o711)}, root(0o644), 0o644},
		{"a folder that is listed, not passed", []owned{root(0o744)}, root(0o644), 0o600},
		{"root's 0700", []owned{root(0o700)}, root(0o644), 0o600},
		{"root's 0700 further up", []owned{root(0o700), root(0o755), root(0o755)}, root(0o644), 0o600},
		{"root's 0700, another's file", []owned{root(0o700)}, owned{alice, staff, 0o644}, 0},
		{"root's file in another's 0700", []owned{{alice, staff, 0o700}}, root(0o644), 0o600},
		{"the owner's 0700", []owned{{alice, staff, 0o700}}, owned{alice, staff, 0o644}, 0o600},
		{"another owner's 0700", []owned{{bob, staff, 0o700}}, owned{alice, staff, 0o644}, 0},
		{"the group's 0750", []owned{{0, staff, 0o750}}, owned{0, staff, 0o644}, 0o640},
		{"another group's 0750", []owned{{0, guests, 0o750}}, owned{0, staff, 0o644}, 0o600},
		{"others only", []owned{{0, staff, 0o701}}, owned{0, staff, 0o644}, 0o600},
		{"others only, another group", []owned{{0, staff, 0o701}}, owned{0, guests, 0o644}, 0o600},
		{"group only, others could read", []owned{{0, staff, 0o710}}, owned{0, staff, 0o604}, 0o600},
		{"each folder denies a class", []owned{{0, staff, 0o750}, {alice, guests, 0o701}}, owned{0, staff, 0o644}, 0o600},
		{"the same folder twice", []owned{{0, staff, 0o750}, {0, staff, 0o750}}, owned{0, staff, 0o664}, 0o660},
		{"the owner cannot pass his own", []owned{{alice, staff, 0o650}}, owned{alice, staff, 0o644}, 0o040},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			p.needReach()
			dir := "src"
			for i := range c.folders {
				dir += fmt.Sprintf("/d%d", i)
			}
			p.files(dir+"/w.pt", dir+"/sub/x")
			p.give(dir+"/w.pt", c.file)
			p.give(dir+"/sub", owned{c.file.uid, c.file.gid, c.file.mode & 0o777})
			at := dir
			for i := len(c.folders) - 1; i >= 0; i-- {
				p.give(at, c.folders[i])
				at = at[:strings.LastIndexByte(at, '/')]
			}
			m := model(t, p.source("src"), strings.TrimPrefix(dir, "src/"))
			st := stat(t, m, "w.pt")
			if st.Mode != c.want || int(st.Uid) != c.file.uid || int(st.Gid) != c.file.gid {
				t.Errorf("%d:%d %04o, want %d:%d %04o", st.Uid, st.Gid, st.Mode, c.file.uid, c.file.gid, c.want)
			}
			if st := stat(t, m, "sub"); st.Mode != c.want&0o777 {
				t.Errorf("a folder of the same owner and mode is shown as %04o, want %04o", st.Mode, c.want&0o777)
			}
			f, opened, err := m.Open("w.pt")
			p.check(err)
			defer f.Close()
			if opened != st {
				t.Errorf("Open says %+v, Stat %+v", opened, st)
			}
			if st := stat(t, m, ""); len(c.folders) == 1 && st.Mode != c.folders[0].mode {
				t.Errorf("the model's folder is shown as %04o, it has %04o", st.Mode, c.folders[0].mode)
			}
		})
	}
}

// What lies behind a link is as reachable as the place that it lies in, and the
// link's own place.
func TestModeBehindLinks(t *testing.T) {
	p := newPlace(t)
	p.needReach()
	p.files("src/m/config.json", "private/w.pt", "private/open/w.pt", "public/w.pt", "src/m/closed/plain", "half/w.pt")
	p.link("../../private/w.pt", "src/m/to-private")
	p.link("../../private/open", "src/m/to-folder")
	p.link("../../public/w.pt", "src/m/to-public")
	p.link("../../../public/w.pt", "src/m/closed/to-public")
	p.link("../src/m/closed/to-public", "public/back")
	p.link("../../public/back", "src/m/through-closed")
	for _, name := range []string{"private", "src/m/closed"} {
		p.check(os.Chmod(p.path(name), 0o700))
	}
	m := model(t, p.source("src"), "m")
	for rel, want := range map[string]uint32{
		"to-public": 0o644, "to-private": 0o600, "to-folder": 0o700, "to-folder/w.pt": 0o600,
		"closed": 0o700, "closed/plain": 0o600, "closed/to-public": 0o600, "through-closed": 0o600,
	} {
		if st := stat(t, m, rel); st.Mode != want {
			t.Errorf("%s is shown as %04o, want %04o", rel, st.Mode, want)
		}
	}
}

// Permissions are looked up anew each time, on all folders.
func TestModeChanges(t *testing.T) {
	p := newPlace(t)
	p.needReach()
	p.files("src/a/m/config.json")
	m := model(t, p.source("src"), "a/m")
	for _, c := range []struct {
		name string
		mode os.FileMode
		want uint32
	}{{"src/a", 0o700, 0o600}, {"src/a", 0o755, 0o644}, {"src", 0o700, 0o600}, {"src", 0o755, 0o644}, {"src/a/m/config.json", 0o400, 0o400}} {
		p.check(os.Chmod(p.path(c.name), c.mode))
		if st := stat(t, m, "config.json"); st.Mode != c.want {
			t.Errorf("%s is %04o now, and the file is shown as %04o", c.name, c.mode, st.Mode)
		}
	}
}

// acl gives something a POSIX ACL that lets alice read and search, and leaves it
// the owner of everything and the mask for a group that its mode shows.
func (p *place) acl(name string) {
	p.t.Helper()
	const userObj, user, groupObj, mask, other, nobody = 1, 2, 4, 0x10, 0x20, 0xffffffff
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [][3]uint32{{userObj, 7, nobody}, {user, 5, alice}, {groupObj, 0, nobody}, {mask, 5, nobody}, {other, 5, nobody}} {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	err := unix.Setxattr(p.path(name), "system.posix_acl_access", b, 0)
	if errors.Is(err, unix.ENOTSUP) {
		p.t.Skip("this filesystem has no POSIX ACLs: set TMPDIR")
	}
	p.check(err)
	st, err := os.Stat(p.path(name))
	p.check(err)
	if st.Mode().Perm() != 0o755 {
		p.t.Fatalf("with an ACL %s has the mode %v", name, st.Mode())
	}
}

// TestACL: mode bits cannot express an ACL, so what has one, or lies below one, is
// its owner's only.
func TestACL(t *testing.T) {
	p := newPlace(t)
	p.needReach()
	p.files("src/file/config.json", "src/file/plain", "src/folder/sub/w.pt", "src/folder/config.json", "src/linked/config.json")
	p.link("../folder/sub/w.pt", "src/linked/w.pt")
	s := p.source("src")
	before := stat(t, model(t, s, "folder"), "sub/w.pt").Mode
	p.acl("src/file/config.json")
	p.acl("src/folder/sub")
	for _, c := range []struct {
		model, rel string
		want       uint32
	}{
		{"file", "config.json", 0o700}, {"file", "plain", 0o644}, {"file", "", 0o755},
		{"folder", "sub", 0o700}, {"folder", "sub/w.pt", 0o600}, {"folder", "config.json", 0o644}, {"linked", "w.pt", 0o600},
	} {
		m := model(t, s, c.model)
		st := stat(t, m, c.rel)
		if st.Mode != c.want {
			t.Errorf("%s/%s is shown as %04o, want %04o", c.model, c.rel, st.Mode, c.want)
		}
		if st.Folder {
			continue
		}
		f, opened, err := m.Open(c.rel)
		p.check(err)
		_ = f.Close()
		if opened != st {
			t.Errorf("%s/%s: Open says %+v, Stat %+v", c.model, c.rel, opened, st)
		}
	}
	if before != 0o644 {
		t.Errorf("without an ACL it was %04o", before)
	}
}

// user is somebody who tries to read.
type user struct {
	uid, gid int
	groups   []int
}

// reads tries it on disk, in a thread that is that user and ends afterwards.
func (u user) reads(path string) (bool, error) {
	type answer struct {
		ok  bool
		err error
	}
	answers := make(chan answer)
	go func() {
		runtime.LockOSThread() // and never unlocked
		groups := make([]uint32, 0, len(u.groups)+1)
		for _, g := range append(u.groups, u.gid) {
			groups = append(groups, uint32(g))
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); errno != 0 {
			answers <- answer{err: errno}
			return
		}
		if err := errors.Join(unix.Setfsgid(u.gid), unix.Setfsuid(u.uid)); err != nil {
			answers <- answer{err: err}
			return
		}
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		switch {
		case err == nil:
			answers <- answer{ok: true, err: unix.Close(fd)}
		case errors.Is(err, unix.EACCES):
			answers <- answer{}
		default:
			answers <- answer{err: err}
		}
	}()
	a := <-answers
	return a.ok, a.err
}

// may says what the kernel decides by the attributes that are shown.
func (u user) may(st sources.Stat) bool {
	switch {
	case u.uid == int(st.Uid):
		return st.Mode&0o400 != 0
	case u.gid == int(st.Gid):
		return st.Mode&0o040 != 0
	}
	for _, g := range u.groups {
		if g == int(st.Gid) {
			return st.Mode&0o040 != 0
		}
	}
	return st.Mode&0o004 != 0
}

// TestModeAgainstDisk makes folders and files of random owners and modes, some
// behind links, and tries on disk who can read them: nobody may do by the
// attributes what he cannot do there. Where all folders let everybody pass, they
// say exactly what the disk does. The owner of a folder always passes it here.
func TestModeAgainstDisk(t *testing.T) {
	needRoot(t)
	p := newPlace(t)
	p.needReach()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	pick := func(list ...int) int { return list[rnd.IntN(len(list))] }
	owner := func(modes ...int) owned {
		return owned{pick(0, alice, bob), pick(0, staff, guests), uint32(pick(modes...))}
	}
	users := []user{{alice, staff, nil}, {bob, guests, nil}, {carol, carol, nil}, {carol, carol, []int{staff, guests}}, {alice, alice, nil}, {bob, bob, []int{staff}}}
	allowed, denied, hidden := 0, 0, 0
	for i := range 60 {
		src := fmt.Sprintf("src%d", i)
		other := fmt.Sprintf("other%d", i)
		open := true
		p.files(src+"/config.json", src+"/a/b/w.pt", other+"/c/w.pt")
		p.link("../../"+other+"/c/w.pt", src+"/a/linked.pt")
		for _, file := range []string{src + "/a/b/w.pt", other + "/c/w.pt"} {
			p.give(file, owner(0o644, 0o640, 0o600, 0o604, 0o044, 0o444, 0o060))
		}
		for _, dir := range []string{src + "/a/b", src + "/a", src, other + "/c", other} {
			o := owner(0o755, 0o755, 0o755, 0o711, 0o750, 0o700, 0o710, 0o705, 0o701, 0o744)
			open = open && o.mode&0o111 == 0o111
			p.give(dir, o)
		}
		m := model(t, p.source(src), src)
		for _, rel := range []string{"a/b/w.pt", "a/linked.pt"} {
			st := stat(t, m, rel)
			for _, u := range users {
				reads, err := u.reads(p.path(src + "/" + rel))
				p.check(err)
				switch may := u.may(st); {
				case may && !reads:
					t.Errorf("%s is shown as %d:%d %04o, which lets %+v read it; on disk he cannot:\n%s", rel, st.Uid, st.Gid, st.Mode, u, p.modes(src, other))
				case may:
					allowed++
				case !reads:
					denied++
				case open:
					t.Errorf("%s is shown as %d:%d %04o, which keeps %+v out; on disk he reads it:\n%s", rel, st.Uid, st.Gid, st.Mode, u, p.modes(src, other))
				default:
					hidden++
				}
			}
		}
	}
	t.Logf("%d may read and do, %d may not and do not, %d may not and could", allowed, denied, hidden)
	if allowed == 0 || denied == 0 {
		t.Error("not every case was met")
	}
}

// modes lists what lies below some folders, for a message.
func (p *place) modes(dirs ...string) string {
	var b strings.Builder
	for _, dir := range dirs {
		for _, name := range []string{"", "/a", "/a/b", "/a/b/w.pt", "/c", "/c/w.pt"} {
			var st unix.Stat_t
			if unix.Stat(p.path(dir+name), &st) == nil {
				fmt.Fprintf(&b, "  %d:%d %04o %s\n", st.Uid, st.Gid, st.Mode&0o7777, dir+name)
			}
		}
	}
	return b.String()
}
