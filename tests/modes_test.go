// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// answer is what status.json must say of a feature in a mode.
type answer int

const (
	either answer = iota
	yes
	no
)

// mode is one way to run the daemon. Nearly every test runs in all of them.
type mode struct {
	name                   string
	args                   []string
	passthrough, hugepages answer
	uid                    int // of the daemon and of its readers
}

const nobody = 65534

var (
	normal        = mode{name: "default", passthrough: yes, hugepages: yes}
	noPassthrough = mode{name: "passthrough off", args: []string{"--passthrough", "off"}, passthrough: no}
	noHugePages   = mode{name: "hugepages off", args: []string{"--hugepages", "off"}, passthrough: yes, hugepages: no}
	unprivileged  = mode{name: "unprivileged", passthrough: no, hugepages: no, uid: nobody}
)

// passes says whether the mode's readers map segments themselves.
func (m mode) passes() bool { return m.passthrough == yes }

// eachMode runs a test in every mode.
func eachMode(t *testing.T, test func(t *testing.T, m mode)) {
	modes(t, test, normal, noPassthrough, noHugePages, unprivileged)
}

func modes(t *testing.T, test func(t *testing.T, m mode), list ...mode) {
	for _, m := range list {
		t.Run(m.name, func(t *testing.T) { test(t, m) })
	}
}

// lacking skips a test for want of something, unless MODELFS_REQUIRE names it
// (fuse, passthrough, hugepages, python, node, java; separated by commas): then it fails.
func lacking(t testing.TB, what, why string) {
	t.Helper()
	required := strings.FieldsFunc(os.Getenv("MODELFS_REQUIRE"), func(r rune) bool { return r == ',' || r == ' ' })
	if slices.Contains(required, what) {
		t.Fatalf("%s is required, and: %s", what, why)
	}
	t.Skipf("no %s: %s", what, why)
}

// needFuse skips what cannot run here: without root nothing but the unprivileged
// mode does, without fusermount3 all but that.
func needFuse(t testing.TB, m mode) {
	t.Helper()
	if _, err := os.Stat(fuseDevice); err != nil {
		lacking(t, "fuse", err.Error())
	}
	if os.Geteuid() != 0 {
		lacking(t, "fuse", "the mounted tests need root")
	}
	if m.uid != 0 {
		if _, err := exec.LookPath("fusermount3"); err != nil {
			lacking(t, "fuse", "mounting without privilege needs fusermount3 (package fuse3)")
		}
	}
}

const fuseDevice = "/dev/fuse"

// openFuse lets every user open /dev/fuse until the returned function is called.
// Where it is so already it does nothing. Others that do the same wait.
func openFuse(t testing.TB) (restore func()) {
	t.Helper()
	return modeOfFuse(t, 0o666)
}

// closeFuse is the opposite.
func closeFuse(t testing.TB) (restore func()) {
	t.Helper()
	return modeOfFuse(t, 0o600)
}

func modeOfFuse(t testing.TB, mode os.FileMode) (restore func()) {
	t.Helper()
	f := must(os.OpenFile(fuseDevice, os.O_RDONLY, 0))(t)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			t.Fatal(err)
		}
	}
	info := must(f.Stat())(t)
	if info.Mode().Perm() == mode {
		return func() { f.Close() }
	}
	if err := f.Chmod(mode); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := f.Chmod(info.Mode().Perm()); err != nil {
			t.Error(err)
		}
		f.Close()
	}
}

// as makes a command run as a user.
func as(cmd *exec.Cmd, uid int) *exec.Cmd {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if uid != os.Geteuid() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	return cmd
}
