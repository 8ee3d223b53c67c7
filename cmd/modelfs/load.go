// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/modelfs/modelfs/loaders"
	"github.com/modelfs/modelfs/tensors"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

func (p *program) loadCommand() *cli.Command {
	return &cli.Command{
		Name: "load", Usage: "load a model, or one of its checkpoints, and wait until it is in memory",
		ArgsUsage: "MODEL[/FILE]",
		Description: "MODEL loads the model's primary checkpoint; MODEL/FILE the one that the weight file belongs to. " +
			"Ctrl-C ends the wait at once.",
		Flags:  []cli.Flag{mountFlag()},
		Action: p.load,
	}
}

func (p *program) load(c *cli.Context) error {
	if err := argumentCount(c, 1, 1); err != nil {
		return err
	}
	mount, err := p.mount(c)
	if err != nil {
		return err
	}
	t, err := p.resolve(mount, c.Args().First())
	if err != nil {
		return err
	}
	if t.file == "" {
		return p.loadModel(t)
	}
	return p.loadFile(t)
}

// loadModel waits in a read of user.modelfs.wait, which the kernel ends when
// this process dies: Ctrl-C needs no handling.
func (p *program) loadModel(t target) error {
	before, _ := p.attributes.get(t.folder(), stateAttribute)
	_, _ = os.Stat(filepath.Join(t.mount, "tensors", t.model, tensors.IndexName)) // the data files that a header names count from then on
	total := p.number(t.folder(), bytesAttribute)
	show := p.loading(t, total)
	var state string
	err := show.during(func() (err error) {
		state, err = p.attributes.get(t.folder(), waitAttribute)
		return err
	})
	switch {
	case err != nil && total == 0 && hasNone(t):
		return withoutPrimary(t)
	case err != nil:
		return p.loadFailed(t, err)
	case state != "resident":
		return fmt.Errorf("%s was not loaded, its state is %s%s", t.model, state, p.because(t))
	case before == "resident":
		_, err = fmt.Fprintf(p.stdout, "%s is in memory already (%s)\n", printable(t.model), humanSize(total))
		return err
	}
	return p.loaded(t, show)
}

// loadFile opens the file, which loads its checkpoint, and then the other files
// of that checkpoint, which the daemon loads in the background.
func (p *program) loadFile(t target) error {
	files := p.checkpoint(t)
	var total int64
	for _, f := range files {
		if st, err := os.Stat(filepath.Join(t.folder(), f)); err == nil {
			total += st.Size()
		} else if f == t.file {
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("the model %s has no file %s (ls %s)", t.model, t.file, t.folder())
			}
			return p.loadFailed(t, err)
		}
	}
	show := p.loading(t, total)
	err := show.during(func() error {
		for _, f := range files {
			if err := touch(filepath.Join(t.folder(), f)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return p.loadFailed(t, err)
	}
	return p.loaded(t, show)
}

var (
	errNotResident = errors.New("it opens, but is not held in memory")
	errFolder      = errors.New("it is a folder, not a weight file")
)

// touch opens a weight file, which waits until it is whole, and sees whether it
// is in memory then: side files and opens past the budget are not.
func touch(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Statx_t
	err = unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, unix.STATX_SIZE|unix.STATX_BLOCKS|unix.STATX_TYPE, &st)
	switch {
	case err != nil:
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return errFolder
	case st.Size > 0 && st.Blocks == 0:
		return errNotResident
	}
	return nil
}

// checkpoint lists the files that are loaded together with one: those of the
// index.json that has it.
func (p *program) checkpoint(t target) []string {
	below := filepath.Join(t.mount, "tensors", t.model)
	format, _ := loaders.Of(t.file)
	for _, folder := range []string{filepath.Join(below, t.file), below} {
		text, err := os.ReadFile(filepath.Join(folder, "index.json"))
		var index struct {
			Tensors []struct {
				File *string `json:"file"`
			} `json:"tensors"`
		}
		if err != nil || json.Unmarshal(text, &index) != nil {
			continue
		}
		seen := map[string]bool{}
		files := []string{t.file}
		for _, tensor := range index.Tensors {
			if tensor.File != nil && !seen[*tensor.File] && filepath.IsLocal(*tensor.File) {
				seen[*tensor.File] = true
				if *tensor.File != t.file {
					files = append(files, *tensor.File)
				}
			}
		}
		if seen[t.file] || format.External { // of that one all tensors may lie in other files
			slices.Sort(files[1:])
			return files
		}
	}
	return []string{t.file}
}

func (p *program) loaded(t target, show *progress) error {
	_, err := fmt.Fprintf(p.stdout, "loaded %s: %s in %s\n", printable(t.String()), humanSize(show.total), show.took())
	return err
}

// because is what the daemon says of the model's last failure.
func (p *program) because(t target) string {
	if text, err := p.attributes.get(t.folder(), errorAttribute); err == nil && text != "" {
		return ": " + printable(text)
	}
	return ""
}

func (p *program) loadFailed(t target, err error) error {
	reason := p.because(t)
	switch {
	case errors.Is(err, errNotResident):
		return fmt.Errorf("%s was not loaded: %w; either it is no weight file, or there was no room (modelfs status)%s", t, err, reason)
	case errors.Is(err, unix.ENOTCONN), errors.Is(err, unix.ECONNABORTED):
		return explainMount(t.mount, unix.ENOTCONN)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("load %s: %w", t, errDenied)
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOSPC):
		if reason == "" {
			reason = ": it does not fit beside what is in use (modelfs ps, modelfs status)"
		}
		return fmt.Errorf("load %s: no room%s", t, reason)
	case reason != "":
		return fmt.Errorf("load %s%s", t, reason)
	}
	return fmt.Errorf("load %s: %w", t, err)
}
