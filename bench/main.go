// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == helperWord {
		os.Exit(runHelper(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	quick          bool
	json, markdown string
	plots, from    string
	only           []string
	dir, python    string
	rounds         int
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	var only string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&o.quick, "quick", false, "small sizes and few rounds: to see that it works")
	f.StringVar(&o.json, "json", "", "write the figures to `FILE`")
	f.StringVar(&o.markdown, "markdown", "", "write the table to `FILE` (it is printed in any case)")
	f.StringVar(&o.plots, "plots", "", "draw the figures into `FOLDER`, as SVG, and show them in the markdown")
	f.StringVar(&o.from, "from", "", "measure nothing: write the table and the plots of a `FILE` that --json wrote")
	f.StringVar(&only, "only", "", "make only the measurements `NAME,…`: "+strings.Join(measurementNames(), ", "))
	f.StringVar(&o.dir, "dir", "", "work in a folder made in `FOLDER`, on a disk (default: the folder of temporary files)")
	f.StringVar(&o.python, "python", "", "run the peers in Python with `PROGRAM` (default: a venv made in build/bench-venv)")
	f.IntVar(&o.rounds, "rounds", 0, "`N` rounds instead of each measurement's own number")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("%q: there are only flags", f.Arg(0))
	}
	if o.rounds < 0 {
		return o, fmt.Errorf("--rounds %d: a number from 1", o.rounds)
	}
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	for _, path := range []*string{&o.json, &o.markdown, &o.plots, &o.from} {
		if *path != "" {
			abs, err := filepath.Abs(*path)
			if err != nil {
				return o, err
			}
			if _, err := os.Stat(filepath.Dir(abs)); err != nil {
				return o, err
			}
			*path = abs
		}
	}
	return o, nil
}

var errInterrupted = errors.New("interrupted")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.from != "" {
		r, err := readReport(o.from)
		if err != nil {
			return err
		}
		return errors.Join(r.markdown(stdout, ""), r.write(o))
	}
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("it mounts filesystems and counts the kernel's requests: run it as root (sudo go run ./bench)")
	}
	b, err := prepare(ctx, o, chosen, stderr)
	if ctx.Err() != nil && err != nil {
		return errInterrupted
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.scope.close()) }()

	r := report{Quick: o.quick, Machine: readMachine(ctx, b.repository, b.scope.dir)}
	for _, m := range chosen {
		results, err := b.measure(ctx, m)
		if ctx.Err() != nil {
			return errInterrupted
		}
		r.Results = append(r.Results, results...)
		if err != nil {
			b.say("%s: failed: %v", m.name, err)
			// The page is about modelfs, not about folders of this machine.
			r.Failures = append(r.Failures, failure{m.name, strings.ReplaceAll(err.Error(), b.scope.dir, "…")})
		}
	}
	r.Machine.LoadAfter = loadAverage()
	if err := errors.Join(r.markdown(stdout, ""), r.write(o)); err != nil {
		return err
	}
	if n := len(r.Failures); n > 0 {
		return fmt.Errorf("%d of %d measurements could not be made", n, len(chosen))
	}
	return nil
}
