// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/sources"
	"github.com/modelfs/modelfs/tensors"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

func (p *program) inspectCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "list the tensors of a weight file or a model, without a mount",
		ArgsUsage: "FILE|MODEL",
		Description: "FILE is a weight file or the folder of a model. MODEL, or MODEL/FILE, is one of a mount, " +
			"or of MODELFS_MODELS and the Hugging Face cache. A malformed file exits 1 and says what is wrong at which byte.\n\n" +
			"--check is for downloads, files or whole folders: it prints a line for everything that is wrong, that calls " +
			"code when its own library reads it, or that modelfs does not know, and exits 1 if there is any.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "check", Usage: "look for what is wrong with files or folders, or could do harm", DisableDefaultText: true},
			jsonFlag("an index.json; with --check the findings"), mountFlag(),
		},
		Action: p.inspect,
	}
}

// indexReport is an index.json.
type indexReport struct {
	Model      string `json:"model"`
	Generation string `json:"generation"`
	Tensors    []struct {
		Name   string  `json:"name"`
		DType  string  `json:"dtype"`
		Shape  []int64 `json:"shape"`
		NBytes int64   `json:"nbytes"`
		File   *string `json:"file"`
		Offset *int64  `json:"offset"`
	} `json:"tensors"`
	Error *string `json:"error"`
}

func (p *program) inspect(c *cli.Context) error {
	if c.Bool("check") {
		if !c.Args().Present() {
			return usagef("inspect --check: name at least one file or folder")
		}
		return p.check(c.Context, c.Args().Slice(), c.Bool("json"))
	}
	if err := argumentCount(c, 1, 1); err != nil {
		return err
	}
	text, err := p.indexText(c, c.Args().First())
	if err != nil {
		return err
	}
	var index indexReport
	if err := json.Unmarshal(text, &index); err != nil {
		return fmt.Errorf("index of %s: %w", c.Args().First(), err)
	}
	if c.Bool("json") {
		if _, err := p.stdout.Write(text); err != nil {
			return err
		}
	}
	if index.Error != nil {
		return fmt.Errorf("%s is malformed: %s", c.Args().First(), printable(*index.Error))
	}
	if c.Bool("json") {
		return nil
	}
	return p.printIndex(&index)
}

// indexText is the index.json of what was named: a path that exists, a model of
// the mount, or one of the usual sources.
func (p *program) indexText(c *cli.Context, name string) ([]byte, error) {
	if _, err := os.Stat(name); err == nil {
		return p.indexOfPath(c.Context, name)
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return nil, err
	}
	mount, mountErr := p.mount(c)
	if mountErr == nil {
		t, err := p.resolve(mount, name)
		if err == nil {
			return p.indexInMount(t)
		}
		mountErr = err
	}
	text, err := p.indexInSources(c.Context, name)
	if text == nil && err == nil {
		err = fmt.Errorf("no such file, and no such model: %s (in a mount: %w)", name, mountErr)
	}
	return text, err
}

func (p *program) indexInMount(t target) ([]byte, error) {
	path := filepath.Join(t.mount, "tensors", t.model, t.file, "index.json")
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && t.file != "":
		return p.indexOfPath(context.Background(), t.path()) // the primary one's file, or a shard
	case err != nil:
		return nil, explainMount(t.mount, err)
	}
	return text, nil
}

// indexOfPath reads a weight file or a model's folder.
func (p *program) indexOfPath(ctx context.Context, path string) ([]byte, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	cat, err := open(abs)
	if err != nil {
		return nil, err
	}
	found := cat.Models(ctx)
	whole := len(found) == 1 && found[0].Name() == filepath.Base(abs)
	if st, err := os.Stat(abs); !whole && err == nil && st.IsDir() {
		// A folder of weights without config.json is a model of the folder above.
		if above, err := open(filepath.Dir(abs)); err == nil {
			if m, ok := above.Lookup(ctx, filepath.Base(abs)); ok {
				return indexOf(ctx, m, "")
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%s holds no weight file of a known format", path)
	case 1:
		return indexOf(ctx, found[0], "")
	}
	names := make([]string, len(found))
	for i, m := range found {
		names[i] = m.Name()
	}
	return nil, fmt.Errorf("%s holds %d models, name one of them: %s", path, len(found), listed(names))
}

// indexInSources looks a model up in the usual places; nil where none has it.
func (p *program) indexInSources(ctx context.Context, name string) ([]byte, error) {
	places := sources.Defaults(p.getenv)
	if len(places) == 0 || !filepath.IsLocal(name) {
		return nil, nil
	}
	cat, err := open(places...)
	if err != nil {
		return nil, err
	}
	for model, file := filepath.Clean(name), ""; model != "."; model, file = filepath.Dir(model), filepath.Join(filepath.Base(model), file) {
		if m, ok := cat.Lookup(ctx, model); ok {
			return indexOf(ctx, m, file)
		}
	}
	return nil, nil
}

func open(places ...string) (*catalog.Catalog, error) {
	var list []sources.Source
	for _, place := range places {
		src, err := sources.Resolve(place)
		if err != nil {
			return nil, err
		}
		list = append(list, src)
	}
	return catalog.New(list, slog.New(slog.DiscardHandler)), nil
}

// indexOf makes the index.json of a model's checkpoint: the one with a file, or
// the primary one.
func indexOf(ctx context.Context, m *catalog.Model, file string) ([]byte, error) {
	all, err := m.Checkpoints(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name(), err)
	}
	names := make([]string, len(all.All))
	for i, cp := range all.All {
		names[i] = cp.Name
	}
	cp := all.Primary
	if file != "" {
		var ok bool
		if cp, ok = all.Named(file); !ok {
			return nil, fmt.Errorf("%s has no checkpoint %s; it has %s", m.Name(), file, listed(names))
		}
	}
	if cp == nil {
		return nil, fmt.Errorf("%s has %s and none that comes first, name one: %s", m.Name(), plural(len(names), "checkpoint"), listed(names))
	}
	ix, err := cp.Index(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name(), err)
	}
	var problem string
	if ix.Err != nil {
		problem = ix.Err.Error()
	}
	var text bytes.Buffer
	err = tensors.WriteIndex(&text, m.Name(), ix.Generation, ix.Index, ix.Tree.Path, problem)
	return text.Bytes(), err
}

func (p *program) printIndex(index *indexReport) error {
	t := newTable("NAME", "DTYPE", "SHAPE", ">BYTES", ">OFFSET", "FILE")
	var total, count int64
	files := map[string]bool{}
	for _, tensor := range index.Tensors {
		file, offset := "-", "-"
		if tensor.File != nil {
			file = *tensor.File
			files[file] = true
		}
		if tensor.Offset != nil {
			offset = strconv.FormatInt(*tensor.Offset, 10)
		}
		t.add(tensor.Name, tensor.DType, shape(tensor.Shape), strconv.FormatInt(tensor.NBytes, 10), offset, file)
		total += tensor.NBytes
		count++
	}
	if err := t.print(p.stdout); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.stdout, "\n%s: %s, %s in %s\n", printable(index.Model), plural(count, "tensor"), humanSize(total), plural(len(files), "file"))
	return err
}

func shape(dims []int64) string {
	words := make([]string, len(dims))
	for i, d := range dims {
		words[i] = strconv.FormatInt(d, 10)
	}
	return "[" + strings.Join(words, ",") + "]"
}

// listed writes the first of many names.
func listed(names []string) string {
	const most = 8
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
