// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRefusal: what keeps fusermount3 from mounting is named, with what to do about it.
func TestRefusal(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	device := file("fuse", "")
	absent := filepath.Join(dir, "absent")
	conf, bare := file("conf", "# mount_max = 1000\n user_allow_other \n"), file("bare", "#user_allow_other\n")
	for _, c := range []struct {
		device, conf string
		allowOther   bool
		want         string // "" says nothing of the three
	}{
		{absent, conf, false, "modprobe fuse"},
		{filepath.Join(device, "below"), conf, false, "(-rw-rw-rw-)"},
		{device, bare, true, "root adds the line user_allow_other"},
		{device, absent, true, "root adds the line user_allow_other"},
		{device, bare, false, ""},
		{device, conf, true, ""},
	} {
		got := refusal(c.device, c.conf, c.allowOther)
		if !strings.Contains(got, c.want) || c.want == "" && got != "" && !strings.Contains(got, "setuid") {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
