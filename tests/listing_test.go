// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// TestListingLoadsNothing: ls -lR, find and du over 10,000 models (in other modes
// than the default one, and with -short, over 500) read headers at the most. Among them is a model of 1 GiB, most of it a hole, so that a load
// shows in what the daemon reads, and not only in what it says.
// The control: opening one file is one load.
func TestListingLoadsNothing(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		const large = 1 << 30
		models := 10_000
		if testing.Short() || m.name != normal.name {
			models = 500
		}
		p := newPlace(t, m)
		tiny := weights.Safetensors(weights.Bytes("w", 1, 16))
		for i := range models - 1 {
			dir := filepath.Join(p.models, fmt.Sprintf("org%02d", i%20), fmt.Sprintf("m%05d", i))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), tiny, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		header := fmt.Sprintf(`{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, large, large)
		sparse := p.write("large/model.safetensors", weights.Framed(header))
		if err := os.Truncate(sparse, must(os.Stat(sparse))(t).Size()+large); err != nil {
			t.Fatal(err)
		}
		d := p.start("--memory", "2GiB")
		tmpfs, _ := d.tmpfsUsed()
		_, before := processIO(t, d.daemonPID())

		for _, line := range []string{
			"ls -R " + d.at("models"), "ls -lR " + d.at("models"), "find " + d.mount + " -type f", "du -s " + d.at("models"),
		} {
			start := time.Now()
			out := d.shell(line)
			t.Logf("%6.2f s, %7d lines: %s", time.Since(start).Seconds(), strings.Count(out, "\n"), line)
			switch {
			case strings.HasPrefix(line, "ls -") && strings.Count(out, "model.safetensors\n") != models:
				t.Errorf("%s shows %d weight files of %d", line, strings.Count(out, "model.safetensors\n"), models)
			case strings.HasPrefix(line, "du -s /") && !strings.HasPrefix(out, "0\t"):
				t.Errorf("%s prints %q: nothing is loaded", line, out)
			}
		}

		if c := d.status().Counters; c.Loads != 0 || c.Misses != 0 || c.Hits != 0 {
			t.Errorf("listing made %d loads, %d misses and %d hits", c.Loads, c.Misses, c.Hits)
		}
		if now, _ := d.tmpfsUsed(); now > tmpfs+16<<20 {
			t.Errorf("listing took %d bytes of the tmpfs", now-tmpfs)
		}
		if _, after := processIO(t, d.daemonPID()); after-before > large/2 {
			t.Errorf("listing made the daemon read %d bytes", after-before)
		}
		if _, err := d.read(d.model("org00/m00000/model.safetensors")); err != nil {
			t.Fatal(err)
		}
		if n := d.status().Counters.Loads; n != 1 {
			t.Errorf("the control: an open made %d loads, want 1", n)
		}
	})
}

// shell runs a command line as the mode's user and returns what it printed.
func (d *daemon) shell(line string) string {
	d.t.Helper()
	out, err := d.shellAs(d.mode.uid, line)
	if err != nil {
		d.t.Errorf("%s: %v", line, err)
	}
	return out
}

// shellAs runs a command line as somebody; what it says on stderr is in the error.
func (d *daemon) shellAs(uid int, line string) (string, error) {
	d.t.Helper()
	cmd := as(exec.Command("sh", "-c", line), uid)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TZ=UTC"}
	out, errOut, code := runCommand(d.t, cmd)
	if code != 0 {
		return out, fmt.Errorf("exit code %d: %s", code, errOut)
	}
	return out, nil
}
