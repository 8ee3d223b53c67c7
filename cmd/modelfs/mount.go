// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/modelfs/modelfs/internal/daemon"
	"github.com/modelfs/modelfs/sources"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

func (p *program) mountCommand() *cli.Command {
	return &cli.Command{
		Name: "mount", Usage: "mount folders of models",
		ArgsUsage: "MOUNT",
		Description: "Runs in the foreground, says `ready` on stderr when the mount answers, and detaches on SIGINT and SIGTERM. " +
			"Without --models it takes MODELFS_MODELS (folders, separated by ':') and the Hugging Face cache, where they exist.",
		Flags:  mountFlags(),
		Action: p.mountAction,
	}
}

func mountFlags() []cli.Flag {
	text := func(name, value, usage string) cli.Flag {
		return &cli.StringFlag{Name: name, Value: value, Usage: usage, DefaultText: value}
	}
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "models", TakesFile: true, Usage: "models lie in `SPEC`: a folder, a weight file or a Hugging Face cache; may be repeated, the first of two with one name wins"},
		&cli.StringSliceFlag{Name: "load", Usage: "load `MODEL` at the start; may be repeated"},
		&cli.StringSliceFlag{Name: "pin", Usage: "pin `MODEL`: it never goes to make room; may be repeated"},
		&cli.StringFlag{Name: "memory", Usage: "hold at most `SIZE` (KiB, MiB, GiB)", DefaultText: "half of what is available"},
		text("policy", string(daemon.LRU), "`POLICY` says who goes first when room is needed: lru, lfu, or manual for nobody"),
		text("ttl", "0", "free a model that nobody has used for `DURATION` (10m, 1h30m); 0 keeps it until the room is needed"),
		&cli.StringFlag{Name: "max-models", Value: "0", Usage: "hold at most `N` models; 0 is no limit", DefaultText: "0"},
		text("session-quota", "1GiB", "hold at most `SIZE` in each session (sessions/NAME); 0 is no limit"),
		text("session-ttl", "10m", "remove a session that nobody has used for `DURATION`; 0 keeps it"),
		text("over-budget", string(daemon.Origin), "`WHAT` an open gets when nothing more can go: origin, the file on disk, or fail, ENOMEM"),
		&cli.StringSliceFlag{Name: "variants", Usage: "list models converted too: `TYPE` (" + strings.Join(daemon.VariantNames(), ", ") + ") of every model, or MODEL@TYPE; may be repeated; tensors/MODEL@TYPE is there unlisted as well"},
		text("passthrough", string(daemon.Auto), "`MODE` of letting the kernel read and map without the daemon: auto, on (or do not start), off"),
		text("hugepages", string(daemon.Auto), "`MODE` of mapping large files by huge pages: auto, on (or do not start), off"),
		&cli.BoolFlag{Name: "allow-other", Usage: "let other users in, as far as the files' permissions do", DisableDefaultText: true},
		&cli.BoolFlag{Name: "daemon", Usage: "run in the background; returns when ready", DisableDefaultText: true},
		&cli.StringFlag{Name: "log", TakesFile: true, Usage: "with --daemon: write the log to `FILE`, else it goes to syslog"},
		&cli.IntFlag{Name: "ready-fd", Hidden: true}, // how a daemon's parent hears of it
	}
}

func (p *program) mountAction(c *cli.Context) error {
	cfg, err := p.mountConfig(c)
	if err != nil {
		return err
	}
	if c.Bool("daemon") {
		return p.startDaemon(c.Context, cfg, c.String("log"))
	}
	signals := []os.Signal{unix.SIGINT, unix.SIGTERM}
	if !signal.Ignored(unix.SIGHUP) { // the terminal goes; under nohup it may
		signals = append(signals, unix.SIGHUP)
	}
	ctx, hurry, stop := untilSignal(c.Context, signals)
	defer stop()
	cfg.Hurry = hurry
	background, err := newBackground(c.Int("ready-fd"), c.String("log"))
	if err != nil {
		return err
	}
	logs := background.logTo(p.stderr)
	cfg.Log = slog.New(slog.NewTextHandler(logs, nil))
	err = daemon.Run(ctx, cfg, func() {
		fmt.Fprintf(p.stderr, "modelfs: ready: %s\n", cfg.MountPoint)
		if err := notifySystemd(p.getenv("NOTIFY_SOCKET"), "READY=1\nSTATUS=serving "+cfg.MountPoint); err != nil {
			cfg.Log.Warn("tell systemd that the mount is ready", "error", err)
		}
		if err := background.ready(); err != nil {
			cfg.Log.Warn("go to the background", "error", err)
		}
	})
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil // told to end
	}
	return err
}

// untilSignal ends its context at the first signal and closes hurry at the second:
// no signal ends the process before everything is given back.
func untilSignal(parent context.Context, signals []os.Signal) (ctx context.Context, hurry <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	got := make(chan os.Signal, 2)
	signal.Notify(got, signals...)
	at := make(chan struct{})
	go func() {
		<-got
		cancel()
		<-got
		close(at)
	}()
	return ctx, at, func() {
		signal.Stop(got)
		cancel()
	}
}

// mountConfig checks the flags: what is wrong with them is a usageError.
func (p *program) mountConfig(c *cli.Context) (daemon.Config, error) {
	cfg := daemon.Config{
		Load: c.StringSlice("load"), Pin: c.StringSlice("pin"),
		Policy:      daemon.Policy(c.String("policy")),
		OverBudget:  daemon.OverBudget(c.String("over-budget")),
		Passthrough: daemon.Mode(c.String("passthrough")),
		HugePages:   daemon.Mode(c.String("hugepages")),
		AllowOther:  c.Bool("allow-other"),
		Variants:    c.StringSlice("variants"),
		Version:     version(),
	}
	if err := argumentCount(c, 1, 1); err != nil {
		return cfg, err
	}
	err := errors.Join(
		oneOf("policy", "policy", c.String("policy"), "lru", "lfu", "manual"),
		oneOf("over-budget", "value", c.String("over-budget"), "origin", "fail"),
		oneOf("passthrough", "value", c.String("passthrough"), "auto", "on", "off"),
		oneOf("hugepages", "value", c.String("hugepages"), "auto", "on", "off"),
	)
	if err != nil {
		return cfg, err
	}
	if cfg.MountPoint, err = canonical(c.Args().First()); err != nil {
		return cfg, err
	}
	if cfg.TTL, err = parseDuration(c.String("ttl")); err != nil {
		return cfg, usagef("--ttl: %v", err)
	}
	if cfg.SessionTTL, err = parseDuration(c.String("session-ttl")); err != nil {
		return cfg, usagef("--session-ttl: %v", err)
	}
	if quota := c.String("session-quota"); quota != "0" {
		if cfg.SessionQuota, err = parseSize(quota); err != nil {
			return cfg, usagef("--session-quota: %v", err)
		}
	}
	if cfg.MaxModels, err = parseCount(c.String("max-models")); err != nil {
		return cfg, usagef("--max-models: %v", err)
	}
	if cfg.Memory, err = budget(c); err != nil {
		return cfg, err
	}
	for _, v := range cfg.Variants {
		kind := v[strings.LastIndexByte(v, '@')+1:]
		if err := oneOf("variants", "type", kind, daemon.VariantNames()...); err != nil {
			return cfg, err
		}
	}
	cfg.Models, err = p.modelSources(c.StringSlice("models"))
	return cfg, err
}

func budget(c *cli.Context) (int64, error) {
	if c.IsSet("memory") {
		n, err := parseSize(c.String("memory"))
		if err != nil {
			return 0, usagef("--memory: %v", err)
		}
		return n, nil
	}
	m, err := readMemory("/")
	if err != nil {
		return 0, err
	}
	return m.least() / 2, nil
}

func parseCount(text string) (int, error) {
	var n int
	if _, err := fmt.Sscanf(text+"\n", "%d\n", &n); err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a number of models: write 0 for no limit, or 1, 2, …", text)
	}
	return n, nil
}

// modelSources returns where the models lie: what was named, or the usual
// places that exist.
func (p *program) modelSources(named []string) ([]string, error) {
	if len(named) > 0 {
		out := make([]string, len(named))
		for i, spec := range named {
			out[i] = spec
			if !strings.Contains(spec, "://") {
				abs, err := filepath.Abs(spec)
				if err != nil {
					return nil, fmt.Errorf("--models %s: %w", spec, err)
				}
				out[i] = abs
			}
		}
		return out, nil
	}
	found, missing := sources.Defaults(p.getenv)
	for _, spec := range missing {
		fmt.Fprintf(p.stderr, "modelfs: left out of MODELFS_MODELS: %s does not exist\n", spec)
	}
	if len(found) == 0 {
		return nil, errors.New("no models: say where they are with --models FOLDER or MODELFS_MODELS (there is no Hugging Face cache here either)")
	}
	fmt.Fprintf(p.stderr, "modelfs: no --models given, taking %s\n", strings.Join(found, ", "))
	return found, nil
}
