// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// target is a model, or one of its files, in a mount.
type target struct {
	mount, model string
	file         string // below the model, "" for the model itself
}

// folder is the model's folder.
func (t target) folder() string { return filepath.Join(t.mount, "models", t.model) }

// path is the file, or the folder.
func (t target) path() string { return filepath.Join(t.folder(), t.file) }

func (t target) String() string { return path.Join(t.model, t.file) }

// resolve finds which model MODEL or MODEL/FILE means. Names of models hold
// slashes, and a model is a folder that has a state, so the longest such part
// is it. The path of a model in the mount will do as well.
func (p *program) resolve(mount, written string) (target, error) {
	name := strings.TrimPrefix(written, filepath.Join(mount, "models")+"/")
	name = path.Clean(strings.TrimRight(name, "/"))
	if name == "." || !filepath.IsLocal(name) {
		return target{}, fmt.Errorf("%q is no model's name (modelfs ls shows them)", written)
	}
	for model, file := name, ""; model != "."; {
		_, err := p.attributes.get(filepath.Join(mount, "models", model), stateAttribute)
		switch {
		case err == nil:
			return target{mount, model, file}, nil
		case errors.Is(err, unix.ENOTCONN):
			return target{}, explainMount(mount, err)
		case errors.Is(err, unix.EACCES):
			return target{}, denied(mount, model)
		}
		file = path.Join(path.Base(model), file)
		model = path.Dir(model)
	}
	return target{}, p.noModel(mount, name)
}

// resolveModel is resolve for commands that are about whole models.
func (p *program) resolveModel(mount, written string) (target, error) {
	t, err := p.resolve(mount, written)
	if err == nil && t.file != "" {
		return target{}, fmt.Errorf("%s is a file of the model %s: name the model", written, t.model)
	}
	return t, err
}

func (p *program) noModel(mount, name string) error {
	status, err := readStatus(mount)
	if err != nil {
		return err
	}
	names := make([]string, len(status.Models))
	for i, m := range status.Models {
		names[i] = m.Name
	}
	if near := nearest(name, names); near != "" {
		return fmt.Errorf("no model %q in %s: did you mean %s? (modelfs ls shows all)", name, mount, near)
	}
	return fmt.Errorf("no model %q in %s (modelfs ls shows the %d that are there)", name, mount, len(names))
}

var errDenied = errors.New("permission denied: its files on disk are not readable for you either")

// denied says why a model of a mount is closed to somebody: the mount as a whole is, or
// the model's files are.
func denied(mount, model string) error {
	if _, err := os.Stat(mount); errors.Is(err, unix.EACCES) {
		return explainMount(mount, err)
	}
	return fmt.Errorf("%s: %w", model, errDenied)
}

// explainTensors rewords what the kernel says of a model's tensors.
func explainTensors(mount, model string, err error) error {
	switch {
	case errors.Is(err, unix.EACCES):
		return denied(mount, model)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: it is not there any more", model)
	}
	return explainMount(mount, err)
}

// set sets an attribute of a model. The kernel goes by the model's folder, which may be
// another's than the mount: its owner asks the daemon by the mount's own models/.
func (p *program) set(t target, name, value string) error {
	err := p.attributes.set(t.folder(), name, value)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	byOwner := p.attributes.set(filepath.Join(t.mount, "models"), name, value+":"+t.model)
	if errors.Is(byOwner, fs.ErrPermission) {
		return err
	}
	return byOwner
}

// explainModel rewords what the kernel says of an attribute of a model.
func explainModel(t target, verb string, err error) error {
	switch {
	case errors.Is(err, unix.ENOTCONN):
		return explainMount(t.mount, err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s %s: permission denied: only who may write the model's folder, or the mount's owner, may do that", verb, t)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %s: it is not there any more", verb, t)
	}
	return fmt.Errorf("%s %s: %w", verb, t, err)
}
