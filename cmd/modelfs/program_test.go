// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestUsageErrors: what is wrong on the command line exits 2 and names the right
// spelling; what is wrong with the world exits 1.
func TestUsageErrors(t *testing.T) {
	var b strings.Builder
	for _, line := range []string{
		"moutn", "xyzzy", "--mont=/x ls", "ls --jsn", "ls extra", "ls --json=maybe",
		"load", "load a b", "pin", "evict", "evict --idle --all", "evict a --idle", "evict --idl",
		"umount", "completion", "completion tcsh", "inspect", "version now",
		"mount", "mount /m /n", "mount --polcy=lru /m", "mount /m --memory", "mount --memory",
		"mount --policy lur /m", "mount --policy LRU /m", "mount --over-budget disk /m",
		"mount --passthrough yes /m", "mount --hugepages of /m",
		"mount --memory 8GB /m", "mount --memory 8g /m", "mount --memory much /m", "mount --memory 0 /m", "mount --memory -1GiB /m",
		"mount --ttl 10 /m", "mount --ttl soon /m", "mount --ttl -1s /m", "mount --max-models -3 /m", "mount --max-models few /m",
		"mount --models /srv --log /tmp/x /m", "demo --x", "ls -q", "help nothing",
	} {
		f := newFixture(t)
		b.WriteString("$ modelfs " + line + "\n" + f.fail(t, 2, strings.Fields(line)...))
	}
	golden(t, "usage_errors", b.String())
}

// TestErrorsArePrintable: whatever a name holds, an error moves no cursor and changes no
// colour.
func TestErrorsArePrintable(t *testing.T) {
	const name = "silero\x1b[31m-\x07\u009b\xff"
	f := newFixture(t)
	f.attributes.values[name+" state"] = "failed"
	f.attributes.wait = func() (string, error) { return "failed", nil }
	for _, args := range [][]string{
		{"load", name}, {"load", name + "/file"}, {"inspect", name}, {"inspect", name + "/file"}, {"export", name, "x.safetensors"},
		{"pin", name + "/file"}, {"inspect", "/" + name}, {name}, {"ls", "--" + name}, {"umount", name},
	} {
		code, stdout, stderr := f.invoke(args...)
		if code == 0 || stderr != printableLines(stderr) || !strings.Contains(stderr, `\x1b[31m-`) {
			t.Errorf("%q: exit %d, %q %q", args, code, stdout, stderr)
		}
	}
	f.attributes.fails[name+" evict"] = syscall.EIO
	if _, _, stderr := f.invoke("evict", name); stderr != printableLines(stderr) || stderr == "" {
		t.Errorf("evict: %q", stderr)
	}
}

func TestNoCommandShowsHelp(t *testing.T) {
	f := newFixture(t)
	text := f.fail(t, 2)
	for _, c := range f.commands() {
		if strings.Contains(text, "   "+c.Name+" ") == c.Hidden {
			t.Errorf("help and command %s (hidden %v) disagree", c.Name, c.Hidden)
		}
	}
}

func TestHelpOfEveryCommand(t *testing.T) {
	f := newFixture(t)
	var b strings.Builder
	for _, c := range f.commands() {
		if !c.Hidden && c.Name != "help" { // TestHelp
			b.WriteString(f.succeed(t, c.Name, "--help") + "\n")
		}
	}
	golden(t, "help", b.String())
}

// TestExitCodes runs the program as a process of its own.
func TestExitCodes(t *testing.T) {
	t.Setenv(asProgram, "1")
	t.Setenv("MODELFS_MOUNT", t.TempDir())
	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"version"}, 0}, {[]string{"--version"}, 0}, {[]string{"--help"}, 0},
		{[]string{"ls"}, 1}, {[]string{"lss"}, 2}, {[]string{"ls", "--yaml"}, 2},
	} {
		err := exec.Command(os.Args[0], test.args...).Run()
		code := 0
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if code != test.code {
			t.Errorf("modelfs %q: exit %d, want %d", test.args, code, test.code)
		}
	}
}
