// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
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
		c := newChecker(ctx)
		c.path(name)
		if err := ctx.Err(); err != nil {
			return err
		}
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
