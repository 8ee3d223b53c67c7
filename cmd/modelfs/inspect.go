// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/modelfs/modelfs/tensors"
	"github.com/urfave/cli/v2"
)

func (p *program) inspectCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "list the tensors of a weight file or a model, without a mount",
		ArgsUsage: "FILE|MODEL",
		Description: "FILE is a weight file or the folder of a model. MODEL, or MODEL/FILE, is one of a mount, " +
			"or of MODELFS_MODELS and the Hugging Face cache. A malformed file exits 1 and says what is wrong at which byte.\n\n" +
			"--check is for downloads, files or whole folders: it prints a line for everything that is wrong, that calls " +
			"code when its own library reads it, or that modelfs does not know, and exits 1 if there is any. " +
			"In a folder that is said of symlinks that lead out of it too; of a Hugging Face cache the snapshots are checked.",
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

// indexText is the index.json of what was named.
func (p *program) indexText(c *cli.Context, name string) ([]byte, error) {
	o, err := p.find(c, name)
	if err != nil {
		return nil, err
	}
	if o.checkpoint == nil {
		return o.index, nil
	}
	ix, err := o.checkpoint.Index(c.Context)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.name, err)
	}
	var problem string
	if ix.Err != nil {
		problem = ix.Err.Error()
	}
	var text bytes.Buffer
	err = tensors.WriteIndex(&text, o.name, ix.Generation, ix.Index, ix.Tree.Path, problem)
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
