// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/modelfs/modelfs/internal/daemon"
	"github.com/urfave/cli/v2"
)

// configOf is the Config that a command line of mount makes.
func configOf(t *testing.T, f *fixture, args ...string) (daemon.Config, error) {
	t.Helper()
	var cfg daemon.Config
	app := f.app()
	app.Command("mount").Action = func(c *cli.Context) (err error) {
		cfg, err = f.mountConfig(c)
		return err
	}
	line, err := interspersed(app, append([]string{"modelfs", "mount"}, args...))
	if err != nil {
		return cfg, err
	}
	err = app.RunContext(context.Background(), line)
	return cfg, err
}

func TestMountFlags(t *testing.T) {
	base := func() daemon.Config {
		return daemon.Config{
			MountPoint: "/mnt/models", Models: []string{"/srv/models"}, Load: []string{}, Pin: []string{}, Variants: []string{}, Memory: 1 << 30,
			Policy: daemon.LRU, SessionQuota: 1 << 30, SessionTTL: 10 * time.Minute, OverBudget: daemon.Origin, Passthrough: daemon.Auto, HugePages: daemon.Auto, Version: version(),
		}
	}
	for _, test := range []struct {
		flags string
		want  func(*daemon.Config)
	}{
		{"", func(*daemon.Config) {}},
		{"--models /b,c --models hf://org/name", func(c *daemon.Config) { c.Models = []string{"/srv/models", "/b,c", "hf://org/name"} }},
		{"--load a --load=org/b --pin c", func(c *daemon.Config) { c.Load, c.Pin = []string{"a", "org/b"}, []string{"c"} }},
		{"--policy lfu", func(c *daemon.Config) { c.Policy = daemon.LFU }},
		{"--policy=manual", func(c *daemon.Config) { c.Policy = daemon.Manual }},
		{"--ttl 1h30m", func(c *daemon.Config) { c.TTL = 90 * time.Minute }},
		{"--max-models 7", func(c *daemon.Config) { c.MaxModels = 7 }},
		{"--over-budget fail", func(c *daemon.Config) { c.OverBudget = daemon.Fail }},
		{"--passthrough on --hugepages off", func(c *daemon.Config) { c.Passthrough, c.HugePages = daemon.On, daemon.Off }},
		{"--variants f32 --variants m@f16", func(c *daemon.Config) { c.Variants = []string{"f32", "m@f16"} }},
		{"--session-quota 2MiB --session-ttl 1s", func(c *daemon.Config) { c.SessionQuota, c.SessionTTL = 2<<20, time.Second }},
		{"--session-quota 0 --session-ttl 0", func(c *daemon.Config) { c.SessionQuota, c.SessionTTL = 0, 0 }},
		{"--allow-other", func(c *daemon.Config) { c.AllowOther = true }},
		{"--memory 2GiB", func(c *daemon.Config) { c.Memory = 2 << 30 }},
	} {
		args := append([]string{"--models", "/srv/models", "--memory", "1GiB", "/mnt/models"}, strings.Fields(test.flags)...)
		got, err := configOf(t, newFixture(t), args...)
		if err != nil {
			t.Errorf("%s: %v", test.flags, err)
			continue
		}
		want := base()
		test.want(&want)
		if len(got.Load) == 0 && len(got.Pin) == 0 {
			got.Load, got.Pin = want.Load, want.Pin // nil or empty is the same
		}
		if len(got.Variants) == 0 {
			got.Variants = want.Variants
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", test.flags, got, want)
		}
	}
}

// TestMountDefaults: half of what is available, and the models of the environment as
// far as they exist, which it says.
func TestMountDefaults(t *testing.T) {
	f := newFixture(t)
	models := t.TempDir()
	absent := filepath.Join(models, "absent")
	f.env["MODELFS_MODELS"] = absent + ":" + models
	before, err := readMemory("/")
	if err != nil {
		t.Fatal(err)
	}
	got, err := configOf(t, f, "/mnt/models")
	if err != nil {
		t.Fatal(err)
	}
	if ratio := float64(got.Memory) / float64(before.least()); ratio < 0.4 || ratio > 0.6 {
		t.Errorf("budget %d of %d available", got.Memory, before.least())
	}
	if !reflect.DeepEqual(got.Models, []string{models}) {
		t.Errorf("models %q, want %q", got.Models, models)
	}
	if text := f.err.String(); text != "modelfs: left out of MODELFS_MODELS: "+absent+" does not exist\nmodelfs: no --models given, taking "+models+"\n" {
		t.Errorf("said %q", text)
	}
}

func TestMountWithoutModels(t *testing.T) {
	f := newFixture(t)
	f.env["HF_HOME"] = t.TempDir()
	f.env["HOME"] = f.env["HF_HOME"]
	if got := f.fail(t, 1, "mount", "/mnt/models"); !strings.Contains(got, "no models: say where they are with --models FOLDER or MODELFS_MODELS") {
		t.Error(got)
	}
}

func TestMountPathsAreAbsolute(t *testing.T) {
	f := newFixture(t)
	t.Chdir(t.TempDir())
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	got, err := configOf(t, f, "--models", "m/../x", "--memory=1MiB", "mnt/")
	if err != nil {
		t.Fatal(err)
	}
	if got.Models[0] != filepath.Join(here, "x") || got.MountPoint != filepath.Join(here, "mnt") {
		t.Errorf("got %q at %q", got.Models, got.MountPoint)
	}
}
