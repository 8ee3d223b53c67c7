// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// ManifestName is the file that lists what Write has written.
const ManifestName = "manifest.json"

// Entry is one file in the manifest.
type Entry struct {
	Name     string `json:"name"`
	File     string `json:"file"` // relative to the folder
	Bytes    int64  `json:"bytes"`
	Expect   Want   `json:"expect"`
	Imitates string `json:"imitates"`
}

// Write puts every file into a folder, a category a folder, and manifest.json
// beside them. The sound ones are there too: a checker that refuses everything is
// none. Files that claim to be large have holes.
func Write(dir string) error {
	var entries []Entry
	for _, a := range append(Sound(), All()...) {
		rel := filepath.Join(a.Category(), a.File)
		if err := a.write(filepath.Join(dir, rel)); err != nil {
			return fmt.Errorf("write %s: %w", a.Name, err)
		}
		entries = append(entries, Entry{a.Name, filepath.ToSlash(rel), a.Length(), a.Want, a.Imitates})
	}
	text, err := json.MarshalIndent(entries, "", "\t")
	if err != nil {
		return fmt.Errorf("write %s: %w", ManifestName, err)
	}
	return os.WriteFile(filepath.Join(dir, ManifestName), append(text, '\n'), 0o644)
}

func (c *Content) write(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(c.Head); err != nil {
		return err
	}
	if err := f.Truncate(c.Length()); err != nil {
		return err
	}
	if _, err := f.WriteAt(c.Tail, c.Length()-int64(len(c.Tail))); err != nil {
		return err
	}
	return f.Close()
}
