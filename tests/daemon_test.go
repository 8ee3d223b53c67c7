// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// place is where one test has its models, its mount points and whatever it
// writes. Its name is in the names of all that its daemons make.
type place struct {
	t      testing.TB
	mode   mode
	dir    string
	models string // a source that is empty at first

	// unblock is called before the daemons end: what they wait for must come.
	unblock []func()
}

// newPlace makes one. Everybody may pass its folders; they belong to the user of
// the mode.
func newPlace(t testing.TB, m mode) *place {
	t.Helper()
	needFuse(t, m)
	needPrograms(t)
	p := &place{t: t, mode: m, dir: must(os.MkdirTemp("", "mfs"))(t)} //nolint:usetesting // TempDir's is for one user alone
	t.Cleanup(func() { p.checkNothingLeft() })
	p.models = p.folder("src")
	for _, dir := range []string{p.dir, p.models, p.folder("mnt"), p.folder("tmp")} {
		if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, m.uid, m.uid)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// folder makes a folder in the place.
func (p *place) folder(name string) string {
	p.t.Helper()
	dir := filepath.Join(p.dir, name)
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chown(dir, p.mode.uid, p.mode.uid)); err != nil {
		p.t.Fatal(err)
	}
	return dir
}

// write writes a file of a model below the source, as the mode's user would.
func (p *place) write(name string, content []byte) string {
	p.t.Helper()
	path := filepath.Join(p.models, name)
	for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
		p.folder(filepath.Join("src", dir))
	}
	if err := errors.Join(os.WriteFile(path, content, 0o644), os.Chown(path, p.mode.uid, p.mode.uid)); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// daemon is one running modelfs mount.
type daemon struct {
	*place
	mount string
	*reader
	cmd   *exec.Cmd
	log   *logText
	ended chan struct{}
	err   error // of its end; read after ended
	gone  bool  // its end was looked at
}

// start mounts the source at mnt and returns when the mount is ready and does
// what the mode is about.
func (p *place) start(args ...string) *daemon {
	p.t.Helper()
	return p.startAt(filepath.Join(p.dir, "mnt"), append(args, "--models", p.models)...)
}

func (p *place) startAt(mount string, args ...string) *daemon {
	p.t.Helper()
	d := p.launch(mount, args...)
	p.t.Cleanup(func() { d.finish() })
	limit := time.After(patience)
	for !strings.Contains(d.log.String(), "ready") {
		select {
		case <-d.ended:
			p.t.Fatalf("modelfs mount ended: %v\n%s", d.err, d.log)
		case <-limit:
			p.t.Fatalf("modelfs mount is not ready\n%s", d.log)
		case <-time.After(2 * time.Millisecond):
		}
	}
	d.reader = startReader(p.t, p.mode.uid)
	d.checkMode()
	return d
}

// launch starts the program. It waits only for what other users need to be allowed
// meanwhile.
func (p *place) launch(mount string, args ...string) *daemon {
	p.t.Helper()
	if p.mode.uid == 0 {
		return p.launchQuietly(mount, args...)
	}
	defer openFuse(p.t)()
	d := p.launchQuietly(mount, args...)
	eventually(p.t, 20*time.Second, "the daemon has /dev/fuse", func() bool {
		select {
		case <-d.ended:
			return true
		default:
			return strings.Contains(d.log.String(), "ready")
		}
	})
	return d
}

// launchQuietly starts the program, and nothing else.
func (p *place) launchQuietly(mount string, args ...string) *daemon {
	p.t.Helper()
	if !slices.Contains(args, "--memory") {
		args = append(args, "--memory", "512MiB")
	}
	args = append(append([]string{"mount"}, args...), p.mode.args...)
	d := &daemon{place: p, mount: mount, log: &logText{}, ended: make(chan struct{})}
	d.cmd = p.command(p.mode.uid, append(args, mount)...)
	d.cmd.Stderr = d.log
	d.cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	if err := d.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		defer close(d.ended)
		d.err = d.cmd.Wait()
	}()
	p.t.Cleanup(func() { // after a test that ended too early
		d.cmd.Process.Kill()
		<-d.ended
	})
	return d
}

// checkMode sees that the mode is what status.json says.
func (d *daemon) checkMode() {
	d.t.Helper()
	got := d.status().DataPath
	for _, f := range []struct {
		name string
		want answer
		is   bool
	}{{"passthrough", d.mode.passthrough, got.Passthrough}, {"hugepages", d.mode.hugepages, got.HugePages}} {
		switch {
		case f.want == yes && !f.is:
			lacking(d.t, f.name, got.Reason)
		case f.want == no && f.is:
			d.t.Fatalf("%s took no effect: %s is on", d.mode.name, f.name)
		case f.want == no && got.Reason == "":
			d.t.Errorf("%s is off, and data_path.reason does not say why", f.name)
		}
	}
}

// command is a modelfs command, run by a user.
func (p *place) command(uid int, args ...string) *exec.Cmd {
	cmd := as(exec.Command(programs.modelfs, args...), uid)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "TMPDIR=" + filepath.Join(p.dir, "tmp")}
	return cmd
}

// run runs a modelfs command about the mount, as the mode's user, and returns
// what it printed and its exit code.
func (d *daemon) run(args ...string) (stdout, stderr string, code int) {
	d.t.Helper()
	return d.runAs(d.mode.uid, args...)
}

func (d *daemon) runAs(uid int, args ...string) (stdout, stderr string, code int) {
	d.t.Helper()
	cmd := d.command(uid, args...)
	cmd.Env = append(cmd.Env, "MODELFS_MOUNT="+d.mount)
	return runCommand(d.t, cmd)
}

func runCommand(t testing.TB, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// at is a path below the mount.
func (d *daemon) at(parts ...string) string {
	return filepath.Join(append([]string{d.mount}, parts...)...)
}

// model is a path below models/, and of the model's folder with one part.
func (d *daemon) model(parts ...string) string { return d.at(append([]string{"models"}, parts...)...) }

func (d *daemon) daemonPID() int { return d.cmd.Process.Pid }

// die kills the daemon with -9.
func (d *daemon) die() {
	d.cmd.Process.Kill()
	<-d.ended
	d.gone = true
}

// end ends the daemon with SIGTERM and sees that it ends well.
func (d *daemon) end() {
	d.t.Helper()
	if d.gone {
		return
	}
	d.cmd.Process.Signal(unix.SIGTERM)
	d.wait(patience)
}

// wait waits for the daemon's end and sees that it ends well.
func (d *daemon) wait(most time.Duration) {
	d.t.Helper()
	d.gone = true
	select {
	case <-d.ended:
		if d.err != nil {
			d.t.Errorf("the daemon ended with %v\n%s", d.err, d.log)
		}
	case <-time.After(most):
		d.t.Errorf("the daemon did not end within %v", most)
		d.cmd.Process.Signal(unix.SIGQUIT) // its log then says where it hangs
		select {
		case <-d.ended:
		case <-time.After(time.Second):
			d.cmd.Process.Kill()
		}
		<-d.ended
	}
}

// finish ends the daemon with the test.
func (d *daemon) finish() {
	for _, f := range d.unblock {
		f()
	}
	if d.reader != nil {
		d.reader.kill()
	}
	d.end()
	for _, word := range []string{"panic", "fatal error", "DATA RACE"} {
		if strings.Contains(d.log.String(), word) {
			d.t.Errorf("the daemon's log has %q", word)
		}
	}
	if d.t.Failed() {
		d.t.Logf("log of the daemon of %s:\n%s", d.mount, d.log)
	}
}

// logText is what a daemon wrote so far.
type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
