// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/loaders"
)

// finding is one line of inspect --check, and one element of its JSON.
type finding struct {
	File   string `json:"file"`
	Offset *int64 `json:"offset"` // null where it is about the whole file
	Text   string `json:"text"`
}

func (f finding) String() string {
	if f.Offset == nil {
		return printable(f.File) + ": " + printable(f.Text)
	}
	return fmt.Sprintf("%s: at byte %d: %s", printable(f.File), *f.Offset, printable(f.Text))
}

// check reads files, or all that lies in folders, by the code that the mount uses,
// and says what is wrong or cannot be vouched for. What it does not know is a
// finding: nothing passes for want of a rule.
func (p *program) check(ctx context.Context, paths []string, asJSON bool) error {
	findings := []finding{}
	files := 0
	for _, name := range paths {
		c := checker{ctx: ctx}
		c.path(name)
		findings, files = append(findings, c.findings...), files+c.files
	}
	if asJSON {
		text, err := json.MarshalIndent(findings, "", "  ")
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(p.stdout, "%s\n", text); err != nil {
			return err
		}
	} else {
		for _, f := range findings {
			if _, err := fmt.Fprintln(p.stdout, f); err != nil {
				return err
			}
		}
	}
	if len(findings) > 0 {
		return fmt.Errorf("%s in %s", plural(len(findings), "finding"), plural(files, "file"))
	}
	if !asJSON {
		_, err := fmt.Fprintf(p.stdout, "%s: nothing found\n", plural(files, "file"))
		return err
	}
	return nil
}

// checker looks at one file or folder.
type checker struct {
	ctx      context.Context
	files    int
	findings []finding
}

func (c *checker) find(file, format string, args ...any) {
	c.findings = append(c.findings, finding{File: file, Text: fmt.Sprintf(format, args...)})
}

func (c *checker) path(name string) {
	st, err := os.Lstat(name)
	if err == nil && st.Mode()&iofs.ModeSymlink != 0 {
		st, err = os.Stat(name) // what is named may be a link, as in the Hugging Face cache
	}
	switch {
	case err != nil:
		c.files++
		c.find(name, "cannot be read: %v", err)
	case st.IsDir():
		c.folder(name)
	default:
		c.file(name, st.Mode())
	}
}

// folder checks every checkpoint below a folder, and that nothing else in it is of
// a kind that can do harm.
func (c *checker) folder(dir string) {
	err := filepath.WalkDir(dir, func(at string, e iofs.DirEntry, err error) error {
		switch {
		case err != nil:
			c.find(at, "cannot be read: %v", err)
		case e.IsDir():
		case e.Type()&iofs.ModeSymlink != 0:
			c.path(at)
		default:
			c.file(at, e.Type())
		}
		return c.ctx.Err()
	})
	if err != nil {
		c.find(dir, "%v", err)
	}
}

// harmless are the extensions of text that no loader executes.
var harmless = []string{".json", ".jsonl", ".txt", ".md", ".yaml", ".yml", ".toml", ".vocab", ".merges", ".gitattributes", ".gitignore"}

func (c *checker) file(name string, mode iofs.FileMode) {
	c.files++
	ext := strings.ToLower(filepath.Ext(name))
	switch _, weights := loaders.Of(name); {
	case !mode.IsRegular():
		c.find(name, "is no regular file: it is %s", kind(mode))
	case slices.Contains(harmless, ext) || slices.Contains([]string{"LICENSE", "NOTICE", "README"}, filepath.Base(name)):
	case !weights:
		c.find(name, "of no known kind (%q): nothing is known of what it does", ext)
	default:
		c.weights(name)
	}
}

func kind(mode iofs.FileMode) string {
	switch {
	case mode&iofs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&iofs.ModeSocket != 0:
		return "a socket"
	case mode&iofs.ModeDevice != 0:
		return "a device"
	case mode.IsDir():
		return "a folder"
	}
	return "of type " + mode.Type().String()
}

// weights reads one weight file as a model of its own, with the data files that it
// names.
func (c *checker) weights(name string) {
	if owner, ok := loaders.Companion(name); ok {
		if _, err := os.Lstat(owner); err == nil {
			return // read with its owner
		}
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		c.find(name, "%v", err)
		return
	}
	cat, err := open(abs)
	if err != nil {
		c.find(name, "%v", err)
		return
	}
	for _, m := range cat.Models(c.ctx) {
		ix, err := m.IndexFile(filepath.Base(abs))
		if err != nil {
			c.find(name, "cannot be read: %v", err)
			continue
		}
		c.index(name, ix)
	}
}

func (c *checker) index(name string, ix *catalog.Indexed) {
	var wrong *loaders.FormatError
	switch {
	case errors.As(ix.Err, &wrong):
		c.findings = append(c.findings, finding{File: name, Offset: &wrong.Offset, Text: wrong.Format + ": " + wrong.Msg})
	case ix.Err != nil:
		c.find(name, "%v", ix.Err)
	}
	for _, f := range ix.Index.Findings {
		at := f.Offset
		c.findings = append(c.findings, finding{File: name, Offset: &at, Text: f.Text})
	}
}
