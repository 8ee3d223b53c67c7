// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestMountHelper(t *testing.T) {
	const prefix = "modelfs mount --daemon "
	for _, test := range []struct {
		args []string
		want string // after prefix; with ! an error
	}{
		{[]string{"/sbin/mount.modelfs", "/srv/models", "/mnt", "-o", "rw"}, "--models=/srv/models -- /mnt"},
		{[]string{"/sbin/mount.modelfs", "/srv/models", "/mnt", "-n", "-v", "-t", "modelfs", "-o", "rw,noauto,user,x-systemd.automount,_netdev,defaults"}, "--models=/srv/models -- /mnt"},
		{[]string{"mount.modelfs", "none", "/mnt", "-o", "memory=8GiB,allow_other,policy=lru,ttl=10m,max_models=3,over-budget=fail,models=/a,models=/b,log=/var/log/x"},
			"--memory=8GiB --allow-other --policy=lru --ttl=10m --max-models=3 --over-budget=fail --models=/a --models=/b --log=/var/log/x -- /mnt"},
		{[]string{"mount.modelfs", "none", "/mnt", "-o", `models=/a\,b,load=org/name`}, "--models=/a,b --load=org/name -- /mnt"},
		{[]string{"mount.modelfs", "-o", "ro", "-s", "none", "/mnt", "-o", "whatever"}, "-- /mnt"},
		{[]string{"modelfs", "/srv/models", "/mnt", "-o", "rw,dev,suid,passthrough=on"}, "--models=/srv/models --passthrough=on -- /mnt"},
		{[]string{"mount.modelfs", "none", "/mnt", "-o", "memry=8GiB"}, `!unknown mount option "memry": did you mean memory?`},
		{[]string{"mount.modelfs", "none", "/mnt", "-o", "allowother"}, `!unknown mount option "allowother": did you mean allow_other?`},
		{[]string{"mount.modelfs", "none", "/mnt", "-o", "daemon"}, `!unknown mount option "daemon"`},
		{[]string{"mount.modelfs", "none", "/mnt", "-o", "memory"}, "!mount option memory needs a value"},
		{[]string{"mount.modelfs", "none", "/mnt", "-o", "allow_other=1"}, "!mount option allow_other takes no value"},
		{[]string{"mount.modelfs", "none"}, "!got 1 argument"},
		{[]string{"mount.modelfs", "none", "/mnt", "-o"}, "!-o needs a value"},
		{[]string{"mount.modelfs", "none", "/mnt", "-q"}, "!unknown flag -q"},
	} {
		got, err := mountHelperArguments(test.args)
		if message, ok := strings.CutPrefix(test.want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), message) {
				t.Errorf("%q: %v, want %s", test.args, err, message)
			}
			continue
		}
		if err != nil || strings.Join(got, " ") != prefix+test.want {
			t.Errorf("%q: %q, %v; want %s%s", test.args, got, err, prefix, test.want)
		}
	}
}

// TestNotAHelper: command lines of modelfs itself stay as they are.
func TestNotAHelper(t *testing.T) {
	for _, line := range []string{"modelfs", "modelfs ls", "modelfs mount /a /b", "modelfs load a b", "modelfs mount --models /a /m"} {
		got, err := mountHelperArguments(strings.Fields(line))
		if err != nil || strings.Join(got, " ") != line {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
}

func TestMountHelperExitCode(t *testing.T) {
	f := newFixture(t)
	if code := f.run(t.Context(), []string{"/sbin/mount.modelfs", "none", "/mnt", "-o", "memory=8GB"}); code != 2 {
		t.Errorf("exit %d, want 2: %s", code, f.err.String())
	}
}
