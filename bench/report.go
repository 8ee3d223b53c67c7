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

// write puts the report where the flags say; "" is nowhere.
func (r report) write(asJSON, asMarkdown string) error {
	if asJSON != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return fmt.Errorf("write %s: %w", asJSON, err)
		}
		if err := writeWhole(asJSON, string(text)+"\n"); err != nil {
			return err
		}
	}
	if asMarkdown != "" {
		var b strings.Builder
		if err := r.markdown(&b); err != nil {
			return err
		}
		return writeWhole(asMarkdown, b.String())
	}
	return nil
}

// writeWhole replaces a file, so that nobody finds half of one.
func writeWhole(path, text string) error {
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}
