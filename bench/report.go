// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// report is everything that a run found out.
type report struct {
	Machine  machine   `json:"machine"`
	Quick    bool      `json:"quick"`
	Results  []result  `json:"results"`
	Failures []failure `json:"failures"`
}

// failure is a measurement that could not be made.
type failure struct {
	Measurement string `json:"measurement"`
	Error       string `json:"error"`
}

// readReport reads what an earlier run found out.
func readReport(path string) (report, error) {
	var r report
	text, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

// write puts the report where the flags say; "" is nowhere.
func (r report) write(o options) error {
	if o.json != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return fmt.Errorf("write %s: %w", o.json, err)
		}
		if err := writeWhole(o.json, string(text)+"\n"); err != nil {
			return err
		}
	}
	if o.plots != "" {
		if err := r.plot(o.plots); err != nil {
			return err
		}
	}
	if o.markdown == "" {
		return nil
	}
	plots := ""
	if o.plots != "" {
		var err error
		if plots, err = filepath.Rel(filepath.Dir(o.markdown), o.plots); err != nil {
			return err
		}
	}
	var b strings.Builder
	if err := r.markdown(&b, plots); err != nil {
		return err
	}
	return writeWhole(o.markdown, b.String())
}

// writeWhole replaces a file, so that nobody finds half of one.
func writeWhole(path, text string) error {
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}
