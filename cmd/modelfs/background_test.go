// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/modelfs/modelfs/internal/daemon"
)

// TestDaemonArguments: the child's flags make the Config that its parent has.
func TestDaemonArguments(t *testing.T) {
	want := daemon.Config{
		MountPoint: "/mnt/a b", Models: []string{"/srv/a,b", "--odd"}, Load: []string{"a"}, Pin: []string{"b", "c"}, Memory: 12345678,
		Policy: daemon.LFU, TTL: 90 * time.Second, MaxModels: 3, OverBudget: daemon.Fail,
		Passthrough: daemon.Off, HugePages: daemon.On, AllowOther: true, SessionQuota: 5 << 20, SessionTTL: 7 * time.Second, Variants: []string{"f32", "m@f16"}, Version: version(),
	}
	want.Models[1] = "/--odd"
	args := append(daemonArguments(want)[1:], "--", want.MountPoint)
	got, err := configOf(t, newFixture(t), args...)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// Every field is in the comparison: a new one must be spelt too.
	v := reflect.ValueOf(want)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && name != "Log" && name != "Hurry" {
			t.Errorf("the test does not set Config.%s", name)
		}
	}
}

// TestAwaitReady: the parent returns when the child is ready, and with its error
// when it ends before.
func TestAwaitReady(t *testing.T) {
	for _, test := range []struct{ script, want string }{
		{"echo ready >&3; exec sleep 60", ""},
		{"exit 1", "reported"},
		{"kill -9 $$", "the daemon ended before it was ready: signal: killed"},
		{"echo nonsense >&3; exit 2", "reported"},
	} {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		child := exec.Command("sh", "-c", test.script)
		child.ExtraFiles = []*os.File{write}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		pid := child.Process.Pid
		write.Close()
		err = awaitReady(context.Background(), child, read)
		read.Close()
		switch {
		case test.want == "":
			if err != nil {
				t.Errorf("%s: %v", test.script, err)
			}
			if p, err := os.FindProcess(pid); err == nil {
				p.Kill()
				_, _ = p.Wait()
			}
		case test.want == "reported":
			if !errors.Is(err, errReported) {
				t.Errorf("%s: %v, want what the child said", test.script, err)
			}
		case err == nil || err.Error() != test.want:
			t.Errorf("%s: %v, want %s", test.script, err, test.want)
		}
	}
}

func TestAwaitReadyInterrupted(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	child := exec.Command("sleep", "60")
	child.ExtraFiles = []*os.File{write}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := awaitReady(ctx, child, read); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("got %v", err)
	}
	if child.ProcessState == nil {
		t.Error("the child was left running")
	}
}

func TestDaemonThatCannotStart(t *testing.T) {
	t.Setenv(asProgram, "1")
	missing := t.TempDir() + "/none"
	cmd := exec.Command(os.Args[0], "mount", "--daemon", "--models", missing, "--memory", "64MiB", missing+"/mnt")
	text, err := cmd.CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 1 {
		t.Fatalf("got %v, want exit 1: %s", err, text)
	}
	if n := strings.Count(string(text), "modelfs: "); n != 1 {
		t.Errorf("the error was told %d times:\n%s", n, text)
	}
}

func TestForegroundStreams(t *testing.T) {
	b, err := newBackground(0, "")
	if err != nil || b != nil {
		t.Fatalf("%v, %v", b, err)
	}
	var out bytes.Buffer
	if b.logTo(&out) != &out {
		t.Error("the log of a mount in the foreground does not go to stderr")
	}
	if err := b.ready(); err != nil {
		t.Error(err)
	}
}
