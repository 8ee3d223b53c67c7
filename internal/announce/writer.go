// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Writer announces a server. One goroutine at a time.
type Writer struct {
	dir  string
	file *os.File // what is announced; nil: nothing yet
}

// NewWriter announces in a session's folder.
func NewWriter(dir string) *Writer { return &Writer{dir: dir} }

// Write announces a, in place of what was announced before. Who reads sees one or the
// other.
func (w *Writer) Write(a *Announcement) error {
	b, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	if _, err := Parse(b); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	final := filepath.Join(w.dir, File)
	next := final + ".next"
	f, err := os.OpenFile(next, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = os.Rename(next, final)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("announce: %w", err), f.Close(), os.Remove(next))
	}
	old := w.file
	w.file = f
	if old != nil {
		_ = old.Close() // nobody reads it any more
	}
	return nil
}

// Close ends the announcement.
func (w *Writer) Close() error {
	if w.file == nil {
		return nil
	}
	err := errors.Join(os.Remove(filepath.Join(w.dir, File)), w.file.Close())
	w.file = nil
	return err
}
