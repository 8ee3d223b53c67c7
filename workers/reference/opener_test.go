// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/workers/caller"
)

// read opens a place and reads it.
func (f *fixture) read(user caller.User, path string, write bool) (string, error) {
	p, err := MountPlace(path)
	if err != nil {
		return "", err
	}
	file, err := f.Open(context.Background(), user, p, write)
	if err != nil {
		return "", err
	}
	defer file.Close()
	b, err := io.ReadAll(file)
	return string(b), err
}

// TestOpenAsOneself needs no root and no helper.
func TestOpenAsOneself(t *testing.T) {
	f := newFixture(t)
	f.folder("sessions/a", 0o755, f.me())
	f.file("sessions/a/b", []byte("mine"), 0o600, f.me())
	for _, write := range []bool{false, true} {
		if got, err := f.read(f.me(), "sessions/a/b", write); got != "mine" || err != nil {
			t.Errorf("write %v: %q %v", write, got, err)
		}
	}
	if _, err := f.read(f.me(), "sessions/a/c", true); !errors.Is(err, ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := os.Stat(f.at("sessions/a/c")); !os.IsNotExist(err) {
		t.Errorf("it was made: %v", err)
	}
	more := f.me()
	more.Uid = 61009
	if os.Geteuid() != 0 {
		if _, err := f.read(more, "sessions/a/b", false); !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "for that user only") {
			t.Errorf("as another user, without privilege: %v", err)
		}
	}
	if got := f.helpers(); len(got) != 0 {
		t.Errorf("%d helpers run", len(got))
	}
}

// TestOwn says whose files need no helper.
func TestOwn(t *testing.T) {
	server := caller.User{Uid: 5, Gid: 5, Groups: []uint32{7, 8}}
	for _, c := range []struct {
		server, caller caller.User
		want           bool
	}{
		{server, server, true},
		{server, caller.User{Uid: 5, Gid: 8, Groups: []uint32{5, 7, 9}}, true}, // may more
		{server, caller.User{Uid: 5, Gid: 5, Groups: []uint32{7}}, false},      // may less
		{server, caller.User{Uid: 5, Gid: 6, Groups: []uint32{7, 8}}, false},
		{server, caller.User{Uid: 6, Gid: 5, Groups: []uint32{7, 8}}, false},
		{server, caller.User{}, false},
		{caller.User{}, caller.User{Gid: 9}, true},
		{caller.User{}, server, false},
	} {
		if got := (&Opener{me: c.server}).own(c.caller); got != c.want {
			t.Errorf("server %+v, caller %+v: %v", c.server, c.caller, got)
		}
	}
}

// TestRights: what the caller's user, group and groups may open is opened, and nothing
// else is, whoever it belongs to.
func TestRights(t *testing.T) {
	needRoot(t)
	f := newFixture(t)
	f.folder("sessions/open", 0o1777, root)
	f.folder("sessions/alices", 0o700, alice)
	f.file("sessions/open/alice", []byte("x"), 0o600, alice)
	f.file("sessions/open/read", []byte("x"), 0o644, alice)
	f.file("sessions/open/group", []byte("x"), 0o640, caller.User{Gid: 61010})
	f.file("sessions/open/root", []byte("x"), 0o600, root)
	f.file("sessions/open/rootgroup", []byte("x"), 0o640, root)
	f.file("sessions/open/notbob", []byte("x"), 0o604, caller.User{Uid: 61001, Gid: 61010})
	f.file("sessions/alices/open", []byte("x"), 0o666, alice)
	for _, c := range []struct {
		path  string
		may   string // who: a alice, b bob, r root
		write string
	}{
		{"sessions/open/alice", "ar", "ar"},
		{"sessions/open/read", "abr", "ar"},
		{"sessions/open/group", "br", "r"},
		{"sessions/open/root", "r", "r"},
		{"sessions/open/rootgroup", "r", "r"},
		{"sessions/open/notbob", "ar", "ar"},
		{"sessions/alices/open", "ar", "ar"},
	} {
		for who, user := range map[string]caller.User{"a": alice, "b": bob, "r": root} {
			for _, write := range []bool{false, true} {
				want := strings.Contains(c.may, who) && (!write || strings.Contains(c.write, who))
				_, err := f.read(user, c.path, write)
				if want && err != nil || !want && !errors.Is(err, ErrPermission) {
					t.Errorf("%s, %s, write %v: %v", c.path, who, write, err)
				}
			}
		}
	}
	if n := len(f.helpers()); n != 2 {
		t.Errorf("%d helpers run, want alice's and bob's", n)
	}
	for _, user := range []caller.User{alice, bob} {
		// A helper that answers the next question has closed what it handed over.
		if _, err := f.read(user, "sessions/open/none", false); !errors.Is(err, ErrNotExist) {
			t.Errorf("a file that is not there: %v", err)
		}
	}
	for _, p := range f.helpers() {
		checkConfined(t, p)
	}
}

// checkConfined looks at a helper: no capabilities, no way to get any, none to trace it.
func checkConfined(t *testing.T, p *process) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d", p.cmd.Process.Pid)
	text, err := os.ReadFile(dir + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch name {
		case "CapInh", "CapPrm", "CapEff", "CapAmb":
			if n, err := strconv.ParseUint(value, 16, 64); err != nil || n != 0 {
				t.Errorf("%s is %s", name, value)
			}
		case "NoNewPrivs":
			if value != "1" {
				t.Errorf("%s is %s", name, value)
			}
		}
	}
	// What belongs to a process that cannot be traced is root's.
	var st unix.Stat_t
	if err := unix.Stat(dir+"/mem", &st); err != nil || st.Uid != 0 {
		t.Errorf("its memory belongs to uid %d: %v", st.Uid, err)
	}
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range fds {
		to, _ := os.Readlink(dir + "/fd/" + e.Name())
		if to != "/dev/null" && e.Name() != "2" && e.Name() != "3" && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/sys/fs/cgroup/") {
			t.Errorf("descriptor %s is %s", e.Name(), to)
		}
	}
	env, err := os.ReadFile(dir + "/environ")
	if err != nil || strings.Contains(string(env), "PATH=") {
		t.Errorf("its environment is %q %v", env, err)
	}
	if cwd, err := os.Readlink(dir + "/cwd"); cwd != "/" {
		t.Errorf("its folder is %s %v", cwd, err)
	}
}

// TestNotRegular: what is no regular file is refused at once, by a helper and without.
func TestNotRegular(t *testing.T) {
	f := newFixture(t)
	users := []caller.User{f.me()}
	if os.Geteuid() == 0 {
		users = append(users, alice)
	}
	f.folder("sessions/a", 0o777, root)
	f.folder("sessions/a/folder", 0o777, root)
	f.do(unix.Mkfifo(f.at("sessions/a/fifo"), 0o666), os.Chmod(f.at("sessions/a/fifo"), 0o666))
	l := must(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0))(t)
	defer unix.Close(l)
	f.do(unix.Bind(l, &unix.SockaddrUnix{Name: f.at("sessions/a/socket")}), os.Chmod(f.at("sessions/a/socket"), 0o777))
	names := []string{"folder", "fifo", "socket"}
	if os.Geteuid() == 0 {
		// A tmpfs may be mounted nodev: then the kernel refuses.
		if err := unix.Mknod(f.at("sessions/a/device"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err == nil {
			f.do(os.Chmod(f.at("sessions/a/device"), 0o666))
			names = append(names, "device")
		}
	}
	for _, name := range names {
		for _, user := range users {
			for _, write := range []bool{false, true} {
				_, err := f.read(user, "sessions/a/"+name, write)
				if !errors.Is(err, ErrPlace) && !(name == "device" && errors.Is(err, ErrPermission)) {
					t.Errorf("%s, uid %d, write %v: %v", name, user.Uid, write, err)
				}
			}
		}
	}
}

func must[V any](v V, err error) func(testing.TB) V {
	return func(t testing.TB) V {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestLinks: a link is not followed, whichever part of the path it is and wherever it
// leads; nor is another file system entered.
func TestLinks(t *testing.T) {
	f := newFixture(t)
	users := []caller.User{f.me()}
	if os.Geteuid() == 0 {
		users = append(users, alice)
	}
	f.folder("sessions/a", 0o777, root)
	f.folder("sessions/a/b", 0o777, root)
	f.file("sessions/a/b/file", []byte("x"), 0o666, root)
	f.do(
		os.Symlink("file", f.at("sessions/a/b/same")),
		os.Symlink("b", f.at("sessions/a/folder")),
		os.Symlink("a", f.at("sessions/session")),
		os.Symlink("/etc/passwd", f.at("sessions/a/b/out")),
		os.Symlink("../../../../etc/passwd", f.at("sessions/a/b/up")),
		os.Symlink("/proc/self/fd", f.at("sessions/a/b/fds")),
		os.Symlink("missing", f.at("sessions/a/b/missing")),
	)
	for _, user := range users {
		if got, err := f.read(user, "sessions/a/b/file", false); got != "x" {
			t.Fatalf("the control: %q %v", got, err)
		}
		for _, path := range []string{"sessions/a/b/same", "sessions/a/folder/file", "sessions/session/b/file", "sessions/a/b/out", "sessions/a/b/up", "sessions/a/b/fds/0", "sessions/a/b/missing"} {
			for _, write := range []bool{false, true} {
				if got, err := f.read(user, path, write); !errors.Is(err, ErrPlace) || !strings.Contains(err.Error(), "links are not followed") {
					t.Errorf("%s, uid %d: %q %v", path, user.Uid, got, err)
				}
			}
		}
	}
	// The mount's own path may have links: it is not a caller's.
	other := f.root + "-link"
	f.do(os.Symlink(f.root, other))
	defer os.Remove(other)
	o := must(NewOpener(Options{Root: other, AnyRoot: true, NextKey: f.files.next}))(t)
	defer o.Close()
	file, err := o.Open(context.Background(), f.me(), f.place("sessions/a/b/file"), false)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
}

// TestOtherMounts: a file system that is mounted below is not entered.
func TestOtherMounts(t *testing.T) {
	needRoot(t)
	f := newFixture(t)
	f.folder("sessions/a", 0o777, root)
	if err := unix.Mount("none", f.at("sessions/a"), "tmpfs", 0, "size=1m,mode=0777"); err != nil {
		t.Skip("mounting is not allowed: ", err)
	}
	defer func() { f.do(unix.Unmount(f.at("sessions/a"), unix.MNT_DETACH)) }()
	f.file("sessions/a/b", []byte("x"), 0o666, root)
	for _, user := range []caller.User{root, alice} {
		if got, err := f.read(user, "sessions/a/b", false); !errors.Is(err, ErrPlace) {
			t.Errorf("uid %d: %q %v", user.Uid, got, err)
		}
	}
}

// TestNothingMounted: a folder of a disk is no mount.
func TestNothingMounted(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.AnyRoot = false })
	f.folder("sessions/a", 0o755, f.me())
	f.file("sessions/a/b", []byte("x"), 0o600, f.me())
	if _, err := f.read(f.me(), "sessions/a/b", false); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "nothing is mounted") {
		t.Errorf("got %v", err)
	}
	if _, err := NewOpener(Options{Root: f.root}); err == nil {
		t.Error("there is no NextKey, and that is no error")
	}
	none := must(NewOpener(Options{}))(t)
	if _, err := none.Open(context.Background(), f.me(), f.place("sessions/a/b"), false); !errors.Is(err, ErrPlace) {
		t.Errorf("without a mount: %v", err)
	}
	if _, err := f.Open(context.Background(), f.me(), Place{}, false); !errors.Is(err, ErrPlace) {
		t.Errorf("nowhere: %v", err)
	}
}

// TestRenameStorm: while a file is swapped for a link to root's file, and its folder for
// a link to root's folder, no open gives a byte of root's.
func TestRenameStorm(t *testing.T) {
	needRoot(t)
	f := newFixture(t)
	f.folder("sessions/a", 0o777, alice)
	f.folder("tensors/secret", 0o700, root)
	f.file("tensors/secret/file", []byte("secret"), 0o600, root)
	f.folder("sessions/open", 0o755, root)
	f.file("sessions/open/file", []byte("secret"), 0o600, root)
	f.folder("sessions/a/d", 0o777, alice)
	f.file("sessions/a/d/file", []byte("hers"), 0o644, alice)
	f.do(os.Symlink(f.at("sessions/open"), f.at("sessions/a/l")))
	f.file("sessions/a/file", []byte("hers"), 0o644, alice)
	f.do(os.Symlink("../open/file", f.at("sessions/a/link")))
	var over atomic.Bool
	var all sync.WaitGroup
	for _, pair := range [][2]string{{"file", "link"}, {"d", "l"}} {
		all.Go(func() {
			one, two := f.at("sessions/a/"+pair[0]), f.at("sessions/a/"+pair[1])
			for !over.Load() {
				if err := unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, two, unix.RENAME_EXCHANGE); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var hers, refused int
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		for _, path := range []string{"sessions/a/file", "sessions/a/link", "sessions/a/d/file", "sessions/a/l/file"} {
			got, err := f.read(alice, path, false)
			switch {
			case err == nil && got == "hers":
				hers++
			case errors.Is(err, ErrPlace), errors.Is(err, ErrPermission), errors.Is(err, ErrNotExist):
				refused++
			default:
				t.Fatalf("%s: %q %v", path, got, err)
			}
		}
	}
	over.Store(true)
	all.Wait()
	if hers == 0 || refused == 0 {
		t.Errorf("%d opens gave hers, %d were refused: the storm hit nothing", hers, refused)
	}
	t.Logf("%d opens gave hers, %d were refused", hers, refused)
}

// TestKilledHelper: a helper that is killed between calls, or while they run, is
// started again; no call fails for that, unless its second one is killed as well.
func TestKilledHelper(t *testing.T) {
	needRoot(t)
	f := newFixture(t)
	f.folder("sessions/a", 0o755, alice)
	f.file("sessions/a/b", []byte("x"), 0o600, alice)
	if _, err := f.read(alice, "sessions/a/b", false); err != nil {
		t.Fatal(err)
	}
	first := f.helpers()[0]
	first.cmd.Process.Kill()
	if _, err := f.read(alice, "sessions/a/b", false); err != nil {
		t.Errorf("after it was killed: %v", err)
	}
	var over atomic.Bool
	var all sync.WaitGroup
	all.Go(func() {
		for !over.Load() {
			for _, p := range f.helpers() {
				p.cmd.Process.Kill()
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	var good, bad atomic.Int32
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for end := time.Now().Add(time.Second); time.Now().Before(end); {
				switch _, err := f.read(alice, "sessions/a/b", false); {
				case err == nil:
					good.Add(1)
				case errors.Is(err, ErrUnavailable):
					bad.Add(1)
				default:
					t.Errorf("while it is killed: %v", err)
				}
			}
		})
	}
	callers.Wait()
	over.Store(true)
	all.Wait()
	t.Logf("%d opens, %d failed", good.Load(), bad.Load())
	if good.Load() == 0 {
		t.Error("no open succeeded")
	}
	if _, err := f.read(alice, "sessions/a/b", false); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestKilledServer: a server that is killed leaves no helper behind, not even one that
// is stopped.
func TestKilledServer(t *testing.T) {
	needRoot(t)
	f := newFixture(t)
	f.folder("sessions/a", 0o755, alice)
	f.file("sessions/a/b", []byte("x"), 0o600, alice)
	for _, stopped := range []bool{false, true} {
		server := exec.Command("/proc/self/exe")
		server.Env = []string{serverEnv + "=" + f.root}
		server.Stderr = os.Stderr
		out := must(server.StdoutPipe())(t)
		f.do(server.Start())
		var pid int
		_, err := fmt.Fscan(out, &pid)
		if err == nil && stopped {
			err = unix.Kill(pid, unix.SIGSTOP)
		}
		server.Process.Kill()
		_ = server.Wait() // it was killed
		f.do(err)
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || strings.Contains(string(text), ") Z ") {
				break // gone, or waiting for a parent that does not care
			}
			if time.Now().After(deadline) {
				t.Fatalf("stopped %v: the helper lives: %s", stopped, text)
			}
		}
	}
}

// TestStoppedHelper: calls to a helper that does not answer end with their contexts, and
// the next ones get their own answers, not those that were given up.
func TestStoppedHelper(t *testing.T) {
	needRoot(t)
	f := newFixture(t)
	f.folder("sessions/a", 0o755, alice)
	f.file("sessions/a/b", []byte("b"), 0o600, alice)
	f.file("sessions/a/c", []byte("c"), 0o600, alice)
	if _, err := f.read(alice, "sessions/a/b", false); err != nil {
		t.Fatal(err)
	}
	p := f.helpers()[0]
	before := descriptorCount(t)
	p.cmd.Process.Signal(unix.SIGSTOP)
	awaitStopped(t, p)
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		file, err := f.Open(ctx, alice, f.place("sessions/a/b"), false)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v %v", file, err)
		}
		cancel()
	}
	p.cmd.Process.Signal(unix.SIGCONT)
	for range 3 {
		if got, err := f.read(alice, "sessions/a/c", false); got != "c" {
			t.Errorf("got %q %v", got, err)
		}
	}
	if after := descriptorCount(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	if got := f.helpers(); len(got) != 1 || got[0] != p {
		t.Errorf("the helper was replaced")
	}
}

// awaitStopped waits until every thread has stopped: it could answer until then.
func awaitStopped(t *testing.T, p *process) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		tasks := must(filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid)))(t)
		running := slices.ContainsFunc(tasks, func(task string) bool {
			text, err := os.ReadFile(task)
			return err == nil && !strings.Contains(string(text), ") T ")
		})
		if len(tasks) > 0 && !running {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not stop")
		}
	}
}

// TestLyingHelper: what a helper hands over is looked at.
func TestLyingHelper(t *testing.T) {
	f := newFixture(t)
	f.folder("sessions/a", 0o755, f.me())
	f.file("sessions/a/b", []byte("x"), 0o600, f.me())
	p := f.place("sessions/a/b")
	pipe := make([]int, 2)
	f.do(unix.Pipe2(pipe, unix.O_CLOEXEC))
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	open := func(path string, flags int) int {
		fd := must(unix.Open(path, flags|unix.O_CLOEXEC, 0))(t)
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	memory := must(unix.MemfdCreate("x", unix.MFD_CLOEXEC))(t)
	defer unix.Close(memory)
	for _, c := range []struct {
		name  string
		fd    int
		write bool
		want  error
	}{
		{"the control", open(f.at("sessions/a/b"), unix.O_RDONLY), false, nil},
		{"the control, to write", open(f.at("sessions/a/b"), unix.O_RDWR), true, nil},
		{"a pipe", pipe[0], false, ErrPlace},
		{"a folder", open(f.at("sessions/a"), unix.O_RDONLY), false, ErrPlace},
		{"read only", open(f.at("sessions/a/b"), unix.O_RDONLY), true, ErrPlace},
		{"writable", open(f.at("sessions/a/b"), unix.O_RDWR), false, ErrPlace},
		{"a path", open(f.at("sessions/a/b"), unix.O_PATH), false, ErrPlace},
		{"appending", open(f.at("sessions/a/b"), unix.O_RDWR|unix.O_APPEND), true, ErrPlace},
		{"another file system", open("/proc/self/status", unix.O_RDONLY), false, ErrPlace},
		{"memory", memory, true, ErrPlace},
	} {
		if _, err := f.admit(c.fd, p, c.write); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestNotAHelper: a program that is none is found out.
func TestNotAHelper(t *testing.T) {
	needRoot(t)
	for _, command := range [][]string{{"/bin/true"}, {"/bin/echo", "hello"}, {"/no/such/program"}} {
		f := newFixture(t, func(o *Options) { o.Command = command })
		f.folder("sessions/a", 0o755, alice)
		f.file("sessions/a/b", []byte("x"), 0o600, alice)
		before := descriptorCount(t)
		_, err := f.read(alice, "sessions/a/b", false)
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "uid 61001") {
			t.Errorf("%v: %v", command, err)
		}
		if after := descriptorCount(t); after != before {
			t.Errorf("%v: %d descriptors, %d before", command, after, before)
		}
		if n := len(f.helpers()); n != 0 {
			t.Errorf("%v: %d helpers", command, n)
		}
	}
}

// TestManyUsers: a thousand users are each served with their own rights, and never do
// more helpers run than may; nothing is left of them.
func TestManyUsers(t *testing.T) {
	needRoot(t)
	users := 1000
	if testing.Short() {
		users = 100
	}
	f := newFixture(t, func(o *Options) { o.Helpers = 4 })
	f.folder("sessions/a", 0o755, root)
	for i := range users {
		u := caller.User{Uid: uint32(62000 + i), Gid: uint32(62000 + i)}
		f.file("sessions/a/"+strconv.Itoa(i), []byte(strconv.Itoa(i)), 0o600, u)
	}
	before, goroutines := descriptorCount(t), runtime.NumGoroutine()
	next := make(chan int)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range next {
				u := caller.User{Uid: uint32(62000 + i), Gid: uint32(62000 + i)}
				if got, err := f.read(u, "sessions/a/"+strconv.Itoa(i), false); got != strconv.Itoa(i) {
					t.Errorf("user %d: %q %v", i, got, err)
				}
				if got, err := f.read(u, "sessions/a/"+strconv.Itoa((i+1)%users), false); !errors.Is(err, ErrPermission) {
					t.Errorf("user %d reads another's: %q %v", i, got, err)
				}
				if n := len(f.helpers()); n > 4 {
					t.Errorf("%d helpers run", n)
				}
			}
		})
	}
	for i := range users {
		next <- i
	}
	close(next)
	all.Wait()
	pids := f.helpers()
	f.Opener.Close()
	for _, p := range pids {
		if err := p.cmd.Process.Signal(unix.Signal(0)); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("after Close a helper runs: %v", err)
		}
	}
	if after := descriptorCount(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
		}
	}
	if _, err := f.read(alice, "sessions/a/0", false); !errors.Is(err, ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}

// TestAllHelpersBusy: who finds all helpers in use waits, and no longer than he wants.
func TestAllHelpersBusy(t *testing.T) {
	needRoot(t)
	f := newFixture(t, func(o *Options) { o.Helpers = 1 })
	f.folder("sessions/a", 0o755, root)
	f.file("sessions/a/b", []byte("x"), 0o644, root)
	s := must(f.pool.acquire(context.Background(), alice))(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := f.Open(ctx, bob, f.place("sessions/a/b"), false); !errors.Is(err, ErrLimit) {
		t.Errorf("got %v", err)
	}
	done := make(chan error)
	go func() {
		_, err := f.read(bob, "sessions/a/b", false)
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("it did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	f.pool.release(s, false)
	if err := <-done; err != nil {
		t.Errorf("then: %v", err)
	}
}

// TestIdleHelper: a helper that nobody asks ends, and the next call starts another.
func TestIdleHelper(t *testing.T) {
	needRoot(t)
	f := newFixture(t, func(o *Options) { o.Idle = 20 * time.Millisecond })
	f.folder("sessions/a", 0o755, alice)
	f.file("sessions/a/b", []byte("x"), 0o600, alice)
	if _, err := f.read(alice, "sessions/a/b", false); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); len(f.helpers()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not end")
		}
	}
	if _, err := f.read(alice, "sessions/a/b", false); err != nil {
		t.Errorf("then: %v", err)
	}
}

// TestSameKey: the same file has the same key, another one never.
func TestSameKey(t *testing.T) {
	f := newFixture(t)
	f.folder("sessions/a", 0o755, f.me())
	f.file("sessions/a/b", make([]byte, 100), 0o600, f.me())
	f.file("sessions/a/c", make([]byte, 100), 0o600, f.me())
	seen := map[uint64]string{}
	key := func(path string, write bool) uint64 {
		t.Helper()
		r := must(f.resolve(context.Background(), f.me(), refTo(path), write))(t)
		defer r.Close()
		return r.Place().File.Key
	}
	for _, c := range []struct {
		path  string
		write bool
	}{{"sessions/a/b", false}, {"sessions/a/c", false}, {"sessions/a/b", true}} {
		k := key(c.path, c.write)
		if k == 0 || seen[k] != "" || key(c.path, c.write) != k {
			t.Errorf("%+v: key %d, also of %q", c, k, seen[k])
		}
		seen[k] = c.path
	}
	f.do(os.Truncate(f.at("sessions/a/b"), 200))
	if k := key("sessions/a/b", false); seen[k] != "" {
		t.Errorf("of another size: key %d", k)
	}
	// With more files than are remembered keys still say which is which.
	small := newFiles(f.files.next)
	first := small.find(identity{inode: 1}).key
	for i := range uint64(generation) {
		small.find(identity{inode: i + 2})
	}
	if small.find(identity{inode: 1}).key != first || len(small.now)+len(small.old) > 2*generation+1 {
		t.Error("the one in use was forgotten, or nothing was")
	}
}

// BenchmarkOpen is an open and a close, by a helper and without.
func BenchmarkOpen(b *testing.B) {
	f := newFixture(b)
	f.folder("sessions/a", 0o755, root)
	f.file("sessions/a/b", bytes.Repeat([]byte{1}, 4096), 0o644, root)
	users := map[string]caller.User{"oneself": f.me()}
	if os.Geteuid() == 0 {
		users["helper"] = alice
	}
	p := f.place("sessions/a/b")
	for name, user := range users {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				file, err := f.Open(context.Background(), user, p, false)
				if err != nil {
					b.Fatal(err)
				}
				file.Close()
			}
		})
	}
}
