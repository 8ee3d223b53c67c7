// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// demoReaders is how many processes open each model at once.
const demoReaders = 3

func (p *program) demoCommand() *cli.Command {
	return &cli.Command{
		Name: "demo", Usage: "show everything, end to end, on a model that ships with the program",
		ArgsUsage: " ",
		Description: "Mounts silero-vad (1.2 MB, MIT) and a made-up model of 128 MiB in a temporary folder, opens them from several processes, " +
			"compares time and memory with and without modelfs, kills a reader, evicts, unmounts, and checks each step.",
		Action: func(c *cli.Context) error {
			if err := argumentCount(c, 0, 0); err != nil {
				return err
			}
			return p.demo(c.Context)
		},
	}
}

// demo is one run: a temporary folder, a mount in it, and who reads there.
type demo struct {
	*program
	self   string
	dir    string // holds all of it
	mount  string
	daemon *demoMount
	before []mountEntry // the mount table before
	models []demoModel
	held   []*reader // they have the real model mapped
}

// demoModel is a model of the demo.
type demoModel struct {
	name, file string
	bytes      int64
	sum        uint64 // of the file on disk, as a reader without modelfs added it up
}

func (p *program) demo(ctx context.Context) (err error) {
	for _, c := range diagnose(p.examine()) {
		if c.Level == failed {
			return fmt.Errorf("the demo cannot run here: %s %s; %s (modelfs doctor)", c.Name, c.Found, c.Hint)
		}
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stop()
	runtime.LockOSThread() // the mount ends with the thread that started it
	d := &demo{program: p}
	defer func() { err = errors.Join(err, d.cleanUp()) }()
	if err := d.prepare(); err != nil {
		return err
	}
	steps := []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{"mount", d.stepMount}, {"share", d.stepShare}, {"compare", d.stepCompare},
		{"kill", d.stepKill}, {"evict", d.stepEvict}, {"umount", d.stepUmount},
	}
	for i, s := range steps {
		if ctx.Err() != nil {
			return errors.New("interrupted; everything was taken back")
		}
		fmt.Fprintf(p.stdout, "\n%d. %s\n", i+1, s.name)
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("demo, step %s: %w", s.name, err)
		}
	}
	_, err = fmt.Fprint(p.stdout, "\nTo go on with models of your own:\n   modelfs mount --models FOLDER --daemon MOUNT\n")
	return err
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.stdout, "   %s\n", strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n   "))
}

func (d *demo) prepare() (err error) {
	if d.self, err = executable(); err != nil {
		return err
	}
	if d.before, err = d.mounts(); err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "modelfs-demo-"); err != nil {
		return err
	}
	if d.dir, err = filepath.EvalSymlinks(d.dir); err != nil {
		return err
	}
	d.mount = filepath.Join(d.dir, "mnt")
	source := filepath.Join(d.dir, "models")
	if err := errors.Join(os.Mkdir(source, 0o755), os.Mkdir(d.mount, 0o755)); err != nil {
		return err
	}
	if err := writeRealModel(source); err != nil {
		return fmt.Errorf("write the demo's model: %w", err)
	}
	d.models = []demoModel{{name: realModel, file: realFile}}
	if m, err := readMemory("/"); err == nil && m.least() < 12*madeUpBytes {
		d.say("little memory: without the made-up model of %s", humanSize(madeUpBytes))
	} else if err := writeMadeUpModel(source); err != nil {
		return fmt.Errorf("write a made-up model: %w", err)
	} else {
		d.models = append(d.models, demoModel{name: madeUpModel, file: madeUpFile})
	}
	for i := range d.models {
		m := &d.models[i]
		st, err := os.Stat(filepath.Join(source, m.name, m.file))
		if err != nil {
			return err
		}
		m.bytes = st.Size()
	}
	return nil
}

// origin and mounted are a model's weight file on disk and in the mount.
func (d *demo) origin(m demoModel) string  { return filepath.Join(d.dir, "models", m.name, m.file) }
func (d *demo) mounted(m demoModel) string { return filepath.Join(d.mount, "models", m.name, m.file) }

func (d *demo) attribute(m demoModel, name string) (string, error) {
	return d.attributes.get(filepath.Join(d.mount, "models", m.name), name)
}

func (d *demo) stepMount(ctx context.Context) error {
	began := time.Now()
	var err error
	if d.daemon, err = startDemoMount(ctx, d.self, filepath.Join(d.dir, "models"), d.mount); err != nil {
		return err
	}
	status, err := readStatus(d.mount)
	if err != nil {
		return err
	}
	d.say("modelfs mount --models %s %s", filepath.Join(d.dir, "models"), d.mount)
	d.say("ready after %s; passthrough %s, huge pages %s %s", milliseconds(time.Since(began).Seconds()),
		onOff(status.DataPath.Passthrough), onOff(status.DataPath.HugePages), status.DataPath.Reason)
	return d.printModels(status.Models)
}

// stepShare opens the real model from several processes at once: it must be
// read once, and all must see its bytes.
func (d *demo) stepShare(context.Context) error {
	m := &d.models[0]
	own, err := os.ReadFile(d.origin(*m))
	if err != nil {
		return err
	}
	m.sum = addUp(own)
	d.say("%d processes open and map %s at the same time, and add up its bytes", demoReaders, m.name)
	d.held, err = startReaders(d.self, demoReaders, "map", d.mounted(*m))
	if err != nil {
		return err
	}
	for _, r := range d.held {
		if r.Sum != m.sum {
			return fmt.Errorf("pid %d read other bytes than are on disk", r.PID)
		}
		d.say("pid %-7d %s, the bytes are those on disk, own copies: %s", r.PID, milliseconds(r.Seconds), humanSize(r.Private))
	}
	status, err := readStatus(d.mount)
	if err != nil {
		return err
	}
	for _, s := range status.Models {
		if s.Name == m.name && s.Loads != 1 {
			return fmt.Errorf("%s was loaded %d times, not once", s.Name, s.Loads)
		}
	}
	d.say("the file was loaded once: %s for all of them (modelfs ps)", humanSize(m.bytes))
	uses, err := readUses(d.mount, m.name)
	if err != nil {
		return err
	}
	return d.printUses(uses)
}

// stepKill kills a reader: its reference must go by itself.
func (d *demo) stepKill(context.Context) error {
	m := d.models[0]
	if err := d.awaitRefs(m, demoReaders); err != nil {
		return err
	}
	victim := d.held[0]
	if err := victim.process.Process.Kill(); err != nil {
		return err
	}
	end(d.held[:1])
	d.held = d.held[1:]
	began := time.Now()
	if err := d.awaitRefs(m, len(d.held)); err != nil {
		return err
	}
	d.say("kill -9 %d: %s of %s became %d within %s", victim.PID, plural(demoReaders, "reference"), m.name,
		len(d.held), milliseconds(time.Since(began).Seconds()))
	return nil
}

func (d *demo) awaitRefs(m demoModel, want int) error {
	var got string
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var err error
		if got, err = d.attribute(m, refsAttribute); err != nil {
			return err
		}
		if got == strconv.Itoa(want) {
			return nil
		}
	}
	return fmt.Errorf("%s has %s references, not %d", m.name, got, want)
}

// stepEvict tries to evict what is in use, and then what is not.
func (d *demo) stepEvict(context.Context) error {
	m := d.models[0]
	d.say("modelfs evict %s", m.name)
	err := d.evictModel(d.mount, m.name)
	if err == nil {
		return errors.New("it was evicted from under its readers")
	}
	d.say("refused: %v", err)
	end(d.held)
	d.held = nil
	d.say("the readers end; modelfs evict --all")
	if err := d.evictMany(d.mount, "all"); err != nil {
		return err
	}
	if state, err := d.attribute(m, stateAttribute); err != nil || state != "absent" {
		return fmt.Errorf("%s is %s (%v), not absent", m.name, state, err)
	}
	return nil
}

// stepUmount unmounts and sees that nothing is left.
func (d *demo) stepUmount(context.Context) error {
	if err := d.detach(d.mount); err != nil {
		return err
	}
	if err := d.daemon.wait(cleanUp); err != nil {
		return err
	}
	d.daemon = nil
	if err := d.nothingLeft(); err != nil {
		return err
	}
	d.say("modelfs umount %s: no mount, no process and no memory is left", d.mount)
	return nil
}

func (d *demo) nothingLeft() error {
	after, err := d.mounts()
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, m := range d.before {
		known[m.point] = true
	}
	// The segments' place is named after the end of the mount point; other mounts may
	// come meanwhile.
	place := strings.ReplaceAll(strings.Trim(d.mount, "/"), "/", "-")
	place = place[max(0, len(place)-40):]
	for _, m := range after {
		if !known[m.point] && (m.kind == fsType && m.point == d.mount || m.kind == "tmpfs" && strings.Contains(m.point, place)) {
			return fmt.Errorf("a mount is left: %s (%s)", m.point, m.kind)
		}
	}
	if left, err := os.ReadDir(d.mount); err != nil || len(left) > 0 {
		return fmt.Errorf("the mount point is not an empty folder again: %d entries, %v", len(left), err)
	}
	return nil
}

// cleanUp takes back what is left, after an error as well.
func (d *demo) cleanUp() error {
	end(d.held)
	if d.daemon != nil {
		d.daemon.kill()
		_ = d.detachOne(d.mount) // fails where nothing is mounted
	}
	if d.dir == "" {
		return nil
	}
	return os.RemoveAll(d.dir)
}

func milliseconds(seconds float64) string {
	return threeDigits(seconds*1000) + " ms"
}
