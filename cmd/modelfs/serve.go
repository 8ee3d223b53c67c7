// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/internal/serving"
)

func (p *program) serveCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "serve models to any process and language over gRPC",
		Description: "Serves models by the Open Inference Protocol, version 2, with Triton's extensions. A model with an .onnx file in the mount " +
			"needs no code: ONNX Runtime runs it. Others name a class in Python, whose load(model) gets the model of the mount, and whose " +
			"infer(inputs) gets and gives arrays by name. Each handler is a process of its own; all share one copy of the weights.\n\n" +
			"   modelfs serve --model silero-vad\n" +
			"   modelfs serve --model whisper-base=my_pkg.asr:Whisper --workers 2 --max-batch 8 --max-delay 2ms --listen unix:/run/whisper.sock\n\n" +
			"Runs in the foreground, says `ready` on stderr with the addresses when they answer, and ends on SIGINT and SIGTERM when what runs is answered; a second one does not wait.",
		Flags:  serveFlags(),
		Action: p.serveAction,
	}
}

func serveFlags() []cli.Flag {
	text := func(name, value, usage string) cli.Flag {
		return &cli.StringFlag{Name: name, Value: value, Usage: usage, DefaultText: value}
	}
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "model", Usage: "serve `NAME`, its .onnx file, NAME=FILE.onnx, or NAME=MODULE:CLASS; may be repeated"},
		&cli.StringSliceFlag{Name: "listen", Usage: "answer at `ADDRESS`, unix:/PATH or HOST:PORT; may be repeated", DefaultText: "a socket in XDG_RUNTIME_DIR, or in /run/modelfs-serve"},
		text("socket-mode", "0660", "give Unix sockets the permissions `MODE`: 0666 lets every user call"),
		&cli.StringFlag{Name: "http", Usage: "answer /metrics and /v2/health/ready at `HOST:PORT`"},
		text("workers", "1", "run `N` handlers of each model"),
		text("max-batch", "1", "join calls into batches of at most `N` rows, if the model can"),
		text("max-delay", "0", "let a call wait for others for at most `DURATION`"),
		&cli.StringFlag{Name: "preferred-batch", Usage: "let batches of `SIZES` (4,8) go without waiting for more"},
		text("max-queue", "1000", "let at most `N` calls of a model wait; 0 is no limit"),
		text("queue-timeout", "0", "let a call wait for at most `DURATION`; 0 is no limit"),
		text("priorities", "1", "have `N` levels of priority, 1 first"),
		text("timeout", "0", "replace a handler that takes longer than `DURATION` for an answer; 0 is no limit"),
		text("start-timeout", "10m", "let a handler load for at most `DURATION`"),
		&cli.StringFlag{Name: "handler-memory", Usage: "replace a handler that has more than `SIZE` of memory of its own", DefaultText: "no limit"},
		text("max-tensor-bytes", "1GiB", "refuse calls whose inputs or outputs take more than `SIZE`"),
		&cli.StringFlag{Name: "memory", Usage: "have at most `SIZE` for the tensors of all calls together", DefaultText: "half of what is available"},
		text("grace", "30s", "let what runs end within `DURATION` when told to end"),
		&cli.StringFlag{Name: "python", TakesFile: true, Usage: "run handlers with this `PYTHON`", DefaultText: "that of VIRTUAL_ENV, or in PATH"},
		&cli.BoolFlag{Name: "allow-client-shm", Usage: "let callers name regions of system shared memory, as Triton's clients do", DisableDefaultText: true},
		&cli.StringFlag{Name: "tokens", TakesFile: true, Usage: "callers over TCP may show a token of `FILE`, which says whose it is: TOKEN USER in each line"},
		&cli.StringFlag{Name: "tls-cert", TakesFile: true, Usage: "encrypt TCP with the certificate in `FILE`"},
		&cli.StringFlag{Name: "tls-key", TakesFile: true, Usage: "the certificate's key is in `FILE`"},
		&cli.StringFlag{Name: "client-ca", TakesFile: true, Usage: "have clients show a certificate that one in `FILE` has signed"},
		&cli.StringSliceFlag{Name: "client-user", Usage: "a client's certificate is that of a user: `NAME=USER`; may be repeated"},
	}
}

func (p *program) serveAction(c *cli.Context) error {
	cfg, err := p.serveConfig(c)
	if err != nil {
		return err
	}
	ctx, hurry, stop := untilSignal(c.Context, []os.Signal{unix.SIGINT, unix.SIGTERM})
	defer stop()
	cfg.Hurry = hurry
	return serving.Run(ctx, cfg, func(listen []string, http string) {
		if http != "" {
			listen = append(listen, "http://"+http)
		}
		fmt.Fprintf(p.stderr, "modelfs: ready: %s\n", strings.Join(listen, " "))
		if err := notifySystemd(p.getenv("NOTIFY_SOCKET"), "READY=1\nSTATUS=serving "+strings.Join(listen, " ")); err != nil {
			cfg.Log.Warn("tell systemd that the server is ready", "error", err)
		}
	})
}

// serveConfig checks the flags: what is wrong with them is a usageError.
func (p *program) serveConfig(c *cli.Context) (serving.Config, error) {
	cfg := serving.Config{
		Version: version(), Listen: c.StringSlice("listen"), HTTP: c.String("http"), Python: c.String("python"),
		AllowClientSharedMemory: c.Bool("allow-client-shm"), Tokens: c.String("tokens"),
		TLS:    serving.TLS{Certificate: c.String("tls-cert"), Key: c.String("tls-key"), ClientCA: c.String("client-ca"), Users: c.StringSlice("client-user")},
		Traces: serving.TracesWanted(p.getenv), Log: slog.New(slog.NewTextHandler(p.stderr, nil)),
	}
	if err := argumentCount(c, 0, 0); err != nil {
		return cfg, err
	}
	for _, spec := range c.StringSlice("model") {
		name, handler, named := strings.Cut(spec, "=")
		if name == "" || named && handler == "" {
			return cfg, usagef("--model %q: write NAME, NAME=FILE.onnx or NAME=MODULE:CLASS", spec)
		}
		if module, class, ok := strings.Cut(handler, ":"); named && !strings.HasSuffix(handler, ".onnx") && (!ok || module == "" || class == "") {
			return cfg, usagef("--model %q: %q is no handler: write NAME=FILE.onnx or NAME=MODULE:CLASS", spec, handler)
		}
		for _, m := range cfg.Models {
			if m.Name == name {
				return cfg, usagef("--model %s is given twice", name)
			}
		}
		cfg.Models = append(cfg.Models, serving.Model{Name: name, Handler: handler})
	}
	if len(cfg.Models) == 0 {
		return cfg, usagef("serve: --model is missing (modelfs serve --help)")
	}
	if err := serveNumbers(c, &cfg); err != nil {
		return cfg, err
	}
	cfg.Helper = openHelperArguments()
	var err error
	if cfg.Mount, err = p.serveMount(c); err != nil {
		return cfg, err
	}
	if len(cfg.Listen) == 0 {
		cfg.Listen = []string{"unix:" + p.usualSocket(cfg.Models[0].Name)}
	}
	return cfg, nil
}

// serveMount is the mount that models come from. Without one, handlers that need none can
// be served all the same.
func (p *program) serveMount(c *cli.Context) (string, error) {
	mount, err := p.mount(c)
	if err == nil || c.IsSet("mount") || p.getenv("MODELFS_MOUNT") != "" || !errors.Is(err, errNoMount) {
		return mount, err
	}
	return "", nil
}

// usualSocket is where a server listens that was not told where.
func (p *program) usualSocket(model string) string {
	dir := "/run/modelfs-serve" // the daemon's own is for nobody else
	if p.euid != 0 {
		if dir = p.getenv("XDG_RUNTIME_DIR"); dir == "" {
			dir = os.TempDir()
		}
		dir = filepath.Join(dir, "modelfs")
	}
	return filepath.Join(dir, strings.ReplaceAll(model, "/", "-")+".sock")
}

// serveNumbers reads the flags that are numbers, sizes and durations.
func serveNumbers(c *cli.Context, cfg *serving.Config) error {
	count := func(name string, least int, to *int) error {
		n, err := strconv.Atoi(c.String(name))
		if err != nil || n < least {
			return usagef("--%s %s: a number from %d on", name, c.String(name), least)
		}
		*to = n
		return nil
	}
	duration := func(name string, to *time.Duration) (err error) {
		if *to, err = parseDuration(c.String(name)); err != nil {
			return usagef("--%s: %s", name, err)
		}
		return nil
	}
	size := func(name string, to *int64) (err error) {
		if text := c.String(name); text != "" {
			if *to, err = parseSize(text); err != nil {
				return usagef("--%s: %s", name, err)
			}
		}
		return nil
	}
	levels := 0
	err := errors.Join(
		count("workers", 1, &cfg.Handlers), count("max-batch", 1, &cfg.MaxBatch), count("max-queue", 0, &cfg.MaxQueue), count("priorities", 1, &levels),
		duration("max-delay", &cfg.MaxDelay), duration("queue-timeout", &cfg.QueueTimeout), duration("timeout", &cfg.Limit),
		duration("start-timeout", &cfg.StartLimit), duration("grace", &cfg.Grace),
		size("handler-memory", &cfg.Memory), size("max-tensor-bytes", &cfg.MaxTensorBytes), size("memory", &cfg.TensorMemory),
	)
	if err != nil {
		return err
	}
	cfg.Levels = uint64(levels)
	mode, err := strconv.ParseUint(c.String("socket-mode"), 8, 32)
	if err != nil || mode == 0 || mode > 0o777 {
		return usagef("--socket-mode %s: an octal number like 0660 or 0666", c.String("socket-mode"))
	}
	cfg.SocketMode = os.FileMode(mode)
	if text := c.String("preferred-batch"); text != "" {
		for part := range strings.SplitSeq(text, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(part))
			if err != nil || n < 1 || n > cfg.MaxBatch {
				return usagef("--preferred-batch %s: numbers from 1 to --max-batch, %d", text, cfg.MaxBatch)
			}
			cfg.Preferred = append(cfg.Preferred, n)
		}
	}
	return nil
}
