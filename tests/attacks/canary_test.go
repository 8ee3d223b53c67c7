// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/tests/attacks"
)

// canary is the file that payloads create, and the folder that they run in.
type canary struct {
	file, dir string
}

// newCanary makes an empty folder the working directory, and names the canary's
// file in the environment.
func newCanary(t *testing.T) canary {
	t.Helper()
	c := canary{filepath.Join(t.TempDir(), "fired"), t.TempDir()}
	t.Setenv("MODELFS_CANARY", c.file)
	t.Chdir(c.dir)
	return c
}

// traces are what payloads left behind.
func (c canary) traces(t *testing.T) []string {
	t.Helper()
	var found []string
	if _, err := os.Lstat(c.file); err == nil {
		found = append(found, c.file)
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}

func (c canary) check(t *testing.T, name string) {
	t.Helper()
	if found := c.traces(t); len(found) > 0 {
		t.Fatalf("%s executed: %q are there", name, found)
	}
}

// TestCanary: what the payloads do is noticed, with the variable and without it.
func TestCanary(t *testing.T) {
	const touch = `touch "${MODELFS_CANARY:-modelfs-canary}"`
	for _, command := range []string{touch, "unset MODELFS_CANARY; " + touch} {
		c := newCanary(t)
		if out, err := exec.Command("/bin/sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if len(c.traces(t)) == 0 {
			t.Errorf("%s is not noticed", command)
		}
	}
}

// TestPayloadsFire is the control of the whole collection: loaded by Python's own
// pickle, the payloads do what the loaders must not do.
func TestPayloadsFire(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if strings.Contains(os.Getenv("MODELFS_REQUIRE"), "python") {
			t.Fatalf("MODELFS_REQUIRE names python: %v", err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	fires := 0
	for i, a := range attacks.All() {
		if a.Payload == nil {
			continue
		}
		fires++
		name := strings.ReplaceAll(a.Name, "/", "+")
		if err := os.WriteFile(filepath.Join(dir, name), a.Payload, 0o644); err != nil {
			t.Fatal(i, err)
		}
	}
	if fires < 50 {
		t.Errorf("%d attacks have a payload that a plain Python executes: too few for a control", fires)
	}
	script, err := filepath.Abs("testdata/unpickle.py")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), python, script, dir)
	command.Dir = t.TempDir()
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text := string(out)
	if count := strings.Count(text, "fired "); count != fires {
		t.Errorf("%d of %d payloads fired:\n%s", count, fires, text)
	}
}
