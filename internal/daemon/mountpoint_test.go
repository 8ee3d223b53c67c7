// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const table = `22 27 0:20 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
33 27 0:43 / /mnt/a\040b rw,nosuid,nodev shared:1 - fuse.modelfs modelfs rw,user_id=0
34 33 0:44 / /mnt/a\040b rw - tmpfs above rw
35 27 0:45 / /mnt/c rw - fuse.modelfs modelfs rw,user_id=0
`

func TestFindMount(t *testing.T) {
	for _, c := range []struct {
		dir  string
		id   int
		kind string
		ok   bool
	}{
		{"/mnt/a b", 34, "tmpfs", true}, // the topmost one
		{"/mnt/c/", 35, "fuse.modelfs", true},
		{"/mnt", 0, "", false},
		{"/", 27, "ext4", true},
	} {
		m, ok, err := findMount(strings.NewReader(table), c.dir)
		if err != nil || ok != c.ok || m.id != c.id || m.kind != c.kind {
			t.Errorf("findMount(%q) = %+v, %v, %v; want %d %s %v", c.dir, m, ok, err, c.id, c.kind, c.ok)
		}
	}
}

func TestHasMount(t *testing.T) {
	for m, want := range map[mount]bool{
		{id: 35, device: "0:45"}: true,
		{id: 35, device: "0:46"}: false,
		{id: 3, device: "0:45"}:  false,
		{id: 54, device: "0:45"}: false,
	} {
		if got := hasMount(table, m); got != want {
			t.Errorf("hasMount(%v) = %v", m, got)
		}
	}
}

func TestPrepare(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	dir := t.TempDir()
	if err := prepare(dir, log); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "missing"): "mkdir -p",
		file:                          "not a folder",
		"/proc":                       "in use by a mount of type proc",
	} {
		err := prepare(path, log)
		if !errors.Is(err, ErrMountPoint) || !strings.Contains(err.Error(), want) {
			t.Errorf("prepare(%s) = %v; want %q in it", path, err, want)
		}
	}
}

func TestPlaceName(t *testing.T) {
	a, b := placeName("/mnt/models"), placeName("/mnt-models")
	if a == b {
		t.Errorf("two mount points have one place: %s", a)
	}
	if !strings.HasPrefix(a, "mnt-models-") {
		t.Errorf("placeName = %q does not show the mount point", a)
	}
	if n := len(placeName("/" + strings.Repeat("x/", 2000))); n > 100 {
		t.Errorf("the name of a long path has %d bytes", n)
	}
}
