// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

func TestParseMounts(t *testing.T) {
	const text = `21 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
61 30 0:44 / /mnt/my\040models rw,nosuid,nodev shared:30 master:2 - fuse.modelfs /srv/a\011b rw,user_id=1000,group_id=1000,allow_other
62 30 0:44 /models/x /srv/x rw - fuse.modelfs modelfs rw,user_id=1000,group_id=1000
63 30 0:45 / /mnt/back\134slash\ rw - fuse.modelfs  rw,user_id=0
broken line
x 30 0:45 / /a rw - tmpfs t rw
64 30 0:46 / /mnt/dash\040-\040x rw - tmpfs none rw
`
	got, err := parseMounts(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []mountEntry{
		{21, "0:20", "/", "/sys", "sysfs", "sysfs", "rw"},
		{61, "0:44", "/", "/mnt/my models", "fuse.modelfs", "/srv/a\tb", "rw,user_id=1000,group_id=1000,allow_other"},
		{62, "0:44", "/models/x", "/srv/x", "fuse.modelfs", "modelfs", "rw,user_id=1000,group_id=1000"},
		{63, "0:45", "/", `/mnt/back\slash\`, "fuse.modelfs", "", "rw,user_id=0"},
		{64, "0:46", "/", "/mnt/dash - x", "tmpfs", "none", "rw"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if user, ok := got[1].user(); !ok || user != 1000 {
		t.Errorf("user %d %v, want 1000", user, ok)
	}
	if _, ok := got[0].user(); ok {
		t.Error("sysfs has no user")
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add("61 30 0:44 / /mnt/my\\040models rw shared:30 - fuse.modelfs a rw,user_id=1000\n")
	f.Add("61 30 0:44 / /a\\9 rw - - - -")
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := parseMounts(strings.NewReader(text))
		if err != nil {
			return
		}
		if len(mounts) > strings.Count(text, " - ") {
			t.Errorf("%d mounts of %q", len(mounts), text)
		}
		trusted(mounts, 0)
	})
}

// TestWhichMount: --mount, then MODELFS_MOUNT, then the only one of root's or
// one's own.
func TestWhichMount(t *testing.T) {
	line := func(id, dev, root, point, user string) string {
		return id + " 30 " + dev + " " + root + " " + point + " rw - fuse.modelfs m rw,user_id=" + user + ",group_id=0\n"
	}
	for _, test := range []struct{ name, table, env, flag, want, err string }{
		{name: "own", table: line("1", "0:4", "/", "/a", "1000"), want: "/a"},
		{name: "root's", table: line("1", "0:4", "/", "/a", "0"), want: "/a"},
		{name: "environment", table: line("1", "0:4", "/", "/a", "0"), env: "/b", want: "/b"},
		{name: "flag", table: line("1", "0:4", "/", "/a", "0"), env: "/b", flag: "/c/", want: "/c"},
		{name: "several", table: line("1", "0:4", "/", "/a", "0") + line("2", "0:5", "/", "/b", "1000"), err: "several modelfs mounts: /a, /b; say which with --mount or MODELFS_MOUNT"},
		{name: "a stranger's beside", table: line("1", "0:4", "/", "/a", "0") + line("2", "0:5", "/", "/b", "33"), want: "/a"},
		{name: "a stranger's only", table: line("2", "0:5", "/", "/b", "33"), err: "no modelfs mount of root or of yours; if you trust who made /b, say --mount /b"},
		{name: "the same at two places", table: line("1", "0:4", "/", "/a", "0") + line("2", "0:4", "/", "/chroot/a", "0"), want: "/a"},
		{name: "a folder of it elsewhere", table: line("2", "0:4", "/models", "/b", "0") + line("1", "0:4", "/", "/a", "0"), want: "/a"},
		{name: "covered by another", table: line("1", "0:4", "/", "/a", "0") + line("2", "0:5", "/", "/a", "0"), want: "/a"},
		{name: "none", table: "21 28 0:20 / /sys rw - sysfs sysfs rw\n", err: "no modelfs mount found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.write(t, "mountinfo", test.table)
			f.env["MODELFS_MOUNT"] = test.env
			for _, global := range []bool{true, false} {
				args := []string{"status"}
				if test.flag != "" && global {
					args = []string{"--mount", test.flag, "status"}
				} else if test.flag != "" {
					args = append(args, "--mount="+test.flag)
				}
				got := f.fail(t, 1, args...) // the folders are not there: the message names the one that was chosen
				want := "modelfs: " + test.err
				if test.err == "" {
					want = "modelfs: no modelfs mount at " + test.want + " "
				}
				if !strings.HasPrefix(got, want) {
					t.Errorf("%q: %swant %s", args, got, want)
				}
			}
		})
	}
}

func TestExplainMount(t *testing.T) {
	for err, want := range map[error]string{
		syscall.ENOTCONN: "the daemon of /m died: modelfs umount /m, then mount it again",
		syscall.EACCES:   "/m does not let you in: mount it with --allow-other, or ask as the user that mounted it",
	} {
		got := explainMount("/m", &os.PathError{Op: "open", Path: "/m", Err: err})
		if got.Error() != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

func TestReportOfAnotherProgram(t *testing.T) {
	f := newFixture(t)
	if err := os.WriteFile(filepath.Join(f.mount, ".modelfs/status.json"), []byte("<html>"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := f.fail(t, 1, "ls"); !strings.Contains(got, "is not what modelfs writes") {
		t.Error(got)
	}
}
