// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// goodMachine is one where everything works.
func goodMachine() facts {
	return facts{
		release: "6.18.0", kernel: kernelVersion{6, 18}, deviceMode: "-rw-rw-rw-", sysAdmin: true, initialNamespace: true,
		fusermount: "/usr/bin/fusermount3", fusermountSetuid: true, passthroughConfig: "y", shmemEnabled: "never", leases: "1",
		memory: memory{available: 8 << 30, limited: -1},
	}
}

func TestDiagnoseGoodMachine(t *testing.T) {
	for _, c := range diagnose(goodMachine()) {
		if c.Level != works || c.Hint != "" || c.Found == "" {
			t.Errorf("%+v", c)
		}
	}
}

// TestDiagnose: each thing that is wrong changes its own check and says what to do.
func TestDiagnose(t *testing.T) {
	f := newFixture(t)
	var b strings.Builder
	for _, test := range []struct {
		name  string
		spoil func(*facts)
		level level
		check string
	}{
		{"old kernel", func(f *facts) { f.kernel, f.release = kernelVersion{6, 1}, "6.1.0-23-amd64" }, degraded, "kernel"},
		{"ancient kernel", func(f *facts) { f.kernel, f.release = kernelVersion{4, 19}, "4.19.0" }, failed, "kernel"},
		{"no fuse", func(f *facts) { f.device, f.deviceMode = errNoDevice, "" }, failed, "/dev/fuse"},
		{"closed fuse", func(f *facts) { f.device, f.deviceMode = syscall.EPERM, "-rw-------" }, failed, "/dev/fuse"},
		{"user", func(f *facts) { f.sysAdmin, f.euid = false, 1000 }, degraded, "privilege"},
		{"user namespace", func(f *facts) { f.initialNamespace = false }, degraded, "privilege"},
		{"user without fuse3", func(f *facts) { f.sysAdmin, f.euid, f.fusermount = false, 1000, "" }, failed, "fusermount3"},
		{"user, helper without setuid", func(f *facts) { f.sysAdmin, f.euid, f.fusermountSetuid = false, 1000, false }, failed, "fusermount3"},
		{"not configured", func(f *facts) { f.passthroughConfig = "n" }, degraded, "passthrough"},
		{"huge pages denied", func(f *facts) { f.shmemEnabled = "deny" }, degraded, "huge pages"},
		{"no huge tmpfs", func(f *facts) { f.hugeTmpfs = syscall.EINVAL }, degraded, "huge pages"},
		{"swap", func(f *facts) { f.swapTotal, f.noSwapTmpfs = 2<<30, syscall.EINVAL }, degraded, "swap"},
		{"no leases", func(f *facts) { f.leases = "0" }, degraded, "file leases"},
		{"little memory", func(f *facts) { f.memory = memory{8 << 30, 100 << 20, "/box"} }, degraded, "memory"},
		{"no meminfo", func(f *facts) { f.memoryError = errors.New("no meminfo") }, degraded, "memory"},
		{"user, others", func(f *facts) { f.euid = 1000 }, degraded, "allow-other"},
		{"stale mount", func(f *facts) { f.mounts = []mountFact{{point: "/mnt/a", stale: true}} }, degraded, "mount"},
		{"hanging mount", func(f *facts) { f.mounts = []mountFact{{point: "/mnt/a", hangs: true}} }, degraded, "mount"},
		{"mount without passthrough", func(f *facts) {
			s := &statusReport{}
			s.DataPath.Reason = "EPERM"
			f.mounts = []mountFact{{point: "/mnt/a", status: s}}
		}, degraded, "mount"},
	} {
		machine := goodMachine()
		test.spoil(&machine)
		checks := diagnose(machine)
		i := slices.IndexFunc(checks, func(c check) bool { return c.Name == test.check })
		if i < 0 || checks[i].Level != test.level || checks[i].Hint == "" {
			t.Errorf("%s: %+v, want %s at %s and a hint", test.name, checks, test.level, test.check)
			continue
		}
		f.out.Reset()
		if err := f.printChecks(checks[i : i+1]); err != nil {
			t.Fatal(err)
		}
		b.WriteString("# " + test.name + "\n" + f.out.String())
	}
	golden(t, "doctor", b.String())
}

// TestDoctor looks at this machine, and the exit code and the JSON must agree.
func TestDoctor(t *testing.T) {
	f := newFixture(t)
	f.euid = syscall.Geteuid()
	code, text, stderr := f.invoke("doctor", "--json")
	var got struct {
		OK     bool    `json:"ok"`
		Checks []check `json:"checks"`
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	bad := slices.ContainsFunc(got.Checks, func(c check) bool { return c.Level == failed })
	if got.OK == bad || (code == 0) != got.OK || (stderr == "") != got.OK || len(got.Checks) < 10 {
		t.Errorf("exit %d, ok %v, stderr %q, checks %+v", code, got.OK, stderr, got.Checks)
	}
	for _, c := range got.Checks {
		if c.Name == "kernel" && !strings.Contains(c.Found, ".") {
			t.Errorf("kernel %q", c.Found)
		}
	}
}
