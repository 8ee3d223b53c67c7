// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/modelfs/modelfs/loaders/safetensors"
	"github.com/modelfs/modelfs/tensors"
	"github.com/modelfs/modelfs/tensors/convert"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// weightSuffix is what an exported file's name ends in.
const weightSuffix = ".safetensors"

func (p *program) exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "write the tensors of a model as safetensors: the safe way out of a pickle",
		ArgsUsage: "MODEL|FILE OUT.safetensors",
		Description: "Takes what inspect takes, and executes nothing of it. The data of each file begin at a page; what is larger than " +
			"--shard-size is cut into OUT-00001-of-0000N.safetensors and so on, with OUT.safetensors.index.json. " +
			"The files get their names when all of them are whole and on disk: after a failure or Ctrl-C there is nothing.\n\n" +
			"It needs little memory, but for tensors that lie in no file as they are (compressed, of the other byte order): one such at a time.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dtype", Usage: "convert floating-point numbers and quantised blocks to `TYPE`: " + strings.Join(dtypeNames(), ", ") + "; integers stay"},
			&cli.StringFlag{Name: "shard-size", Value: "5GiB", Usage: "at most `SIZE` (KiB, MiB, GiB) of tensors in a file, but for a single larger one; 0 is no limit"},
			&cli.BoolFlag{Name: "force", Usage: "overwrite files that are there", DisableDefaultText: true},
			mountFlag(),
		},
		Action: p.export,
	}
}

// dtypeNames are what --dtype takes.
func dtypeNames() []string {
	var names []string
	for _, d := range convert.Targets() {
		names = append(names, strings.ToLower(d.String()))
	}
	return names
}

// export is one run of the command.
type export struct {
	from   *exported
	to     tensors.DType // 0: as they are
	stem   string        // OUT without its extension
	layout *safetensors.Layout
	// before are the tensors that are converted, as they were, by name.
	before map[string]*tensors.Tensor
	done   atomic.Int64 // bytes
}

func (p *program) export(c *cli.Context) error {
	if err := argumentCount(c, 2, 2); err != nil {
		return err
	}
	e := &export{}
	stem, ok := strings.CutSuffix(c.Args().Get(1), weightSuffix)
	if !ok || stem == "" || strings.HasSuffix(stem, "/") {
		return usagef("export: %q does not end in %s, which is the only format that is written", c.Args().Get(1), weightSuffix)
	}
	e.stem = stem
	if name := c.String("dtype"); name != "" {
		if err := oneOf("dtype", "type", name, dtypeNames()...); err != nil {
			return err
		}
		e.to, _ = tensors.ParseDType(strings.ToUpper(name))
	}
	shard, err := shardSize(c.String("shard-size"))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	c.Context = ctx
	o, err := p.find(c, c.Args().First())
	if err != nil {
		return err
	}
	if e.from, err = o.tensors(ctx); err != nil {
		return fmt.Errorf("export %s: %w", c.Args().First(), err)
	}
	defer e.from.close()
	if err := e.plan(shard); err != nil {
		return fmt.Errorf("export %s: %w", c.Args().First(), err)
	}
	began := time.Now()
	show := &progress{verb: "exporting", name: printable(o.name), total: e.layout.Total, out: p.stderr, began: began, arrived: e.done.Load}
	err = show.during(func() error { return e.run(ctx, c.Bool("force")) })
	switch {
	case ctx.Err() != nil && err != nil:
		return fmt.Errorf("export %s: interrupted, nothing was written", c.Args().First())
	case err != nil:
		return fmt.Errorf("export %s: %w", c.Args().First(), err)
	}
	return p.exported(o, e, show.took())
}

func shardSize(text string) (int64, error) {
	if strings.TrimSpace(text) == "0" {
		return 0, nil
	}
	n, err := parseSize(text)
	if err != nil {
		return 0, usagef("--shard-size: %v; 0 is no limit", err)
	}
	return n, nil
}

// plan says what is to be written.
func (e *export) plan(shard int64) error {
	all := make([]tensors.Tensor, len(e.from.tensors))
	e.before = make(map[string]*tensors.Tensor)
	for i := range all {
		t := &e.from.tensors[i]
		all[i] = *t
		if e.to == 0 {
			continue
		}
		all[i] = *convert.Precision(t, e.to)
		switch {
		case all[i].DType != t.DType:
			e.before[t.Name] = t
		case t.DType.IsBlock() && !safetensors.Writes(t.DType):
			return fmt.Errorf("%.100q is %s, which nothing here converts, and which is no dtype of safetensors", t.Name, t.DType)
		}
	}
	layout, err := safetensors.Plan(all, safetensors.Options{Name: filepath.Base(e.stem), Shard: shard})
	e.layout = layout
	return err
}

// run writes everything, or nothing.
func (e *export) run(ctx context.Context, force bool) (err error) {
	out := &outputs{dir: filepath.Dir(e.stem), stem: filepath.Base(e.stem), force: force}
	for i := range e.layout.Files {
		out.add(e.layout.Files[i].Name, e.layout.Files[i].Size)
	}
	if e.layout.IndexName != "" {
		out.add(e.layout.IndexName, int64(len(e.layout.Index)))
	}
	if err := out.create(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.discard()) }()
	for i := range e.layout.Files {
		w := &counter{ctx: ctx, w: out.files[i].file, done: &e.done, skip: int64(len(e.layout.Files[i].Header))}
		if err := e.layout.Files[i].Write(w, e.copier(ctx)); err != nil {
			return out.explain(err)
		}
		if err := out.files[i].sync(); err != nil {
			return out.explain(err)
		}
	}
	if e.layout.IndexName != "" {
		last := &out.files[len(out.files)-1]
		if _, err := last.file.Write(e.layout.Index); err != nil {
			return out.explain(err)
		}
		if err := last.sync(); err != nil {
			return out.explain(err)
		}
	}
	if err := e.from.unchanged(ctx); err != nil {
		return err
	}
	return out.commit(ctx)
}

// exported says what was written.
func (p *program) exported(o *origin, e *export, took string) error {
	var b strings.Builder
	dir := filepath.Dir(e.stem)
	first := filepath.Join(dir, e.layout.Files[0].Name)
	fmt.Fprintf(&b, "exported %s: %s, %s in %s, in %s\n", printable(o.name),
		plural(len(e.from.tensors), "tensor"), humanSize(e.layout.Total), plural(len(e.layout.Files), "file"), took)
	if e.to != 0 {
		fmt.Fprintf(&b, "converted to %s: %s, the others are as they were\n", e.to, plural(len(e.before), "tensor"))
	}
	fmt.Fprintf(&b, "wrote %s", printable(first))
	if e.layout.IndexName != "" {
		last := e.layout.Files[len(e.layout.Files)-1].Name
		fmt.Fprintf(&b, " to %s and %s", printable(last), printable(e.layout.IndexName))
	}
	b.WriteString("\n")
	check := "modelfs inspect --check " + printable(e.from.path)
	switch n := e.from.findings; {
	case n < 0:
		fmt.Fprintf(&b, "what else its files hold says %s\n", check)
	case n > 0:
		fmt.Fprintf(&b, "%s in the source, of which nothing was exported: %s\n", plural(n, "finding"), check)
	}
	_, err := p.stdout.Write([]byte(b.String()))
	return err
}
