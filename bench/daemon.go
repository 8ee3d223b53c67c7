// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// daemon is a running `modelfs mount`.
type daemon struct {
	*server
	program string
	mount   string
	ready   time.Duration // from its start until the mount answered
}

// mountModels mounts a folder of models. The scope ends the daemon, if nobody
// else does.
func (b *bench) mountModels(ctx context.Context, s *scope, name, models string, memory int64, args ...string) (*daemon, error) {
	mount, err := s.folder(name)
	if err != nil {
		return nil, err
	}
	d := &daemon{program: b.program, mount: mount}
	args = append([]string{"mount", "--models", models, "--memory", strconv.FormatInt(memory, 10)}, args...)
	s.add("unmount "+mount, d.stop)
	began := time.Now()
	d.server, err = startServer(ctx, "ready", b.program, append(args, mount)...)
	d.ready = time.Since(began)
	return d, err
}

// stop unmounts and sees that the daemon ends and leaves no mount. It may be
// called again.
func (d *daemon) stop() error {
	if d.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	select {
	case <-d.ended: // nobody told it to
	default:
		if err := d.run(ctx, "umount", d.mount); err != nil {
			d.cmd.Process.Signal(unix.SIGTERM)
		}
	}
	err := d.end(10 * time.Second)
	if err != nil {
		err = errors.Join(fmt.Errorf("the daemon of %s: %w\n%s", d.mount, err, d.written()), d.bury(ctx))
	}
	d.server = nil
	return err
}

// bury takes back what a daemon left that was killed: its mount, and the segments
// that the next daemon of the same mount point takes over, and frees at its end.
func (d *daemon) bury(ctx context.Context) error {
	if mounted(d.mount) {
		if err := unix.Unmount(d.mount, unix.MNT_DETACH); err != nil {
			return err
		}
	}
	empty, err := os.MkdirTemp(filepath.Dir(d.mount), "empty")
	if err != nil {
		return err
	}
	if err := d.run(ctx, "mount", "--models", empty, "--memory", "64MiB", "--daemon", d.mount); err != nil {
		return err
	}
	return d.run(ctx, "umount", d.mount)
}

// mounted says whether something is mounted there.
func mounted(dir string) bool {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && fields[4] == dir {
			return true
		}
	}
	return false
}

// run runs a modelfs command about the mount.
func (d *daemon) run(ctx context.Context, args ...string) error {
	cmd := command(ctx, d.program, args...)
	cmd.Env = append(os.Environ(), "MODELFS_MOUNT="+d.mount)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("modelfs %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (d *daemon) file(path ...string) string {
	return filepath.Join(d.mount, filepath.Join(path...))
}

// weights is the weight file of a model that writeModel made.
func (d *daemon) weights(model string) string { return d.file("models", model, weightFile) }

// dataPath is how the kernel serves the mount, as status.json has it.
type dataPath struct {
	Passthrough bool   `json:"passthrough"`
	HugePages   bool   `json:"hugepages"`
	Reason      string `json:"reason"`
}

func (d *daemon) dataPath() (dataPath, error) {
	text, err := os.ReadFile(d.file(".modelfs/status.json"))
	if err != nil {
		return dataPath{}, err
	}
	var status struct {
		DataPath dataPath `json:"data_path"`
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return dataPath{}, fmt.Errorf("status.json: %w", err)
	}
	return status.DataPath, nil
}

// lacks ends a note with what the mount does without; it is "" when nothing.
func (p dataPath) lacks() string {
	if p.Passthrough && p.HugePages {
		return ""
	}
	return fmt.Sprintf("; the mount runs with passthrough %t, huge pages %t: %s", p.Passthrough, p.HugePages, p.Reason)
}

// requests reads the daemon's counters of the kernel's requests, by operation.
func (d *daemon) requests() (map[string]float64, error) {
	text, err := os.ReadFile(d.file(".modelfs/metrics"))
	if err != nil {
		return nil, err
	}
	counts := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, `modelfs_fuse_requests_total{op="`)
		if !ok {
			continue
		}
		op, value, _ := strings.Cut(strings.TrimSpace(rest), `"} `)
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: %q: %w", line, err)
		}
		counts[op] = n
	}
	return counts, nil
}
