// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/loaders"
	"github.com/modelfs/modelfs/sources"
	"github.com/modelfs/modelfs/tests/attacks"
)

// TestPlaces reads each folder as the program does. A pipe hangs whoever opens it,
// so time is the first thing that counts.
// The controls: external/sound, and file/hard-link, are read.
func TestPlaces(t *testing.T) {
	c := newCanary(t)
	onnx, _ := loaders.Of("x.onnx")
	later := 0
	for _, p := range attacks.Places() {
		if p.External && onnx.Parse == nil {
			later++
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			dir := t.TempDir()
			if err := p.Make(dir); errors.Is(err, syscall.EPERM) {
				t.Skipf("this user may not make it: %v", err)
			} else if err != nil {
				t.Fatal(err)
			}
			done := make(chan string, 1)
			start := time.Now()
			go func() { done <- place(t.Context(), &p, dir) }()
			select {
			case wrong := <-done:
				if wrong != "" && gaps[p.Name] == "" {
					t.Errorf("%s: %s", p.Imitates, wrong)
				}
				if wrong == "" && gaps[p.Name] != "" {
					t.Error("it gets its answer: take it off the list of gaps")
				}
			case <-time.After(hangs):
				t.Fatalf("%s: it still runs after %s", p.Imitates, hangs)
			}
			if took := time.Since(start); took > 5*maxTime {
				t.Errorf("it took %s", took)
			}
		})
		c.check(t, p.Name)
	}
	if later > 0 {
		t.Logf("%d places were left out: there is no parser of ONNX", later)
	}
}

// place says what is wrong with the answer to a folder; nothing if it is right.
func place(ctx context.Context, p *attacks.Place, dir string) string {
	source, err := sources.Resolve(dir, nil)
	if err != nil {
		return err.Error()
	}
	model, ok := catalog.New([]sources.Source{source}, slog.New(slog.DiscardHandler)).Lookup(ctx, "m")
	if !ok {
		return "there is no model m"
	}
	found, err := model.Checkpoints(ctx)
	if err != nil {
		return err.Error()
	}
	if p.Want.Answer == attacks.Hidden {
		if len(found.All) > 0 {
			return "it is shown as a weight file: " + found.All[0].Name
		}
		return ""
	}
	if len(found.All) != 1 {
		return "it is not shown as one weight file"
	}
	ix, err := found.All[0].Index(ctx)
	switch {
	case err != nil && errors.Is(err, fs.ErrNotExist):
		return "it is shown, and not there: " + err.Error()
	case err == nil:
		err = ix.Err
	}
	switch p.Want.Answer {
	case attacks.Refused:
		if err == nil || !strings.Contains(err.Error(), p.Want.Says) {
			return errorText(err) + ", want one about " + p.Want.Says
		}
	case attacks.Read:
		if err != nil || !slices.Equal(names(ix.Index), p.Want.Tensors) {
			return errorText(err)
		}
	default:
		return "it wants an answer that is none of a place: " + string(p.Want.Answer)
	}
	return ""
}

func errorText(err error) string {
	if err == nil {
		return "there is no error"
	}
	return err.Error()
}

// TestPlacesAreMade: each folder holds what its name says, or there is nothing to
// test.
func TestPlacesAreMade(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range attacks.Places() {
		if seen[p.Name] || p.Imitates == "" {
			t.Errorf("%s is there twice, or says not what it is", p.Name)
		}
		seen[p.Name] = true
		dir := t.TempDir()
		if err := p.Make(dir); err != nil {
			if !errors.Is(err, syscall.EPERM) {
				t.Errorf("%s: %v", p.Name, err)
			}
			continue
		}
		kinds := map[string]fs.FileMode{"fifo": fs.ModeNamedPipe, "socket": fs.ModeSocket, "device": fs.ModeCharDevice, "passwd": fs.ModeSymlink, "link": fs.ModeSymlink}
		_, what, _ := strings.Cut(p.Name, "/")
		kind, special := kinds[what]
		if special && !holds(t, dir, func(name string, mode fs.FileMode) bool {
			return mode&kind != 0 || what == "device" && mode&fs.ModeSymlink != 0
		}) {
			t.Errorf("%s: there is no %s", p.Name, what)
		}
	}
}

// holds says whether some entry below a folder is what the function asks for.
func holds(t *testing.T, dir string, is func(name string, mode fs.FileMode) bool) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := os.Lstat(name)
		found = found || err == nil && is(name, st.Mode())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
