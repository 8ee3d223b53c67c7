// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"strings"
	"time"
)

const (
	// File is the name of an announcement in its session.
	File = ".workers.json"
	// Most is how many bytes one has at the most.
	Most = 64 << 10
)

// ErrMalformed says that a file is no announcement.
var ErrMalformed = errors.New("malformed announcement")

// Announcement is what a server says of itself.
type Announcement struct {
	PID       int       `json:"pid"`
	Listen    []string  `json:"listen"` // unix:/PATH or HOST:PORT
	HTTP      string    `json:"http"`   // HOST:PORT of metrics and health; "": none
	Models    []Model   `json:"models"`
	StartedAt time.Time `json:"started_at"`
}

// Model is one that a server serves.
type Model struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	State   string `json:"state"` // as of the model repository: READY, UNAVAILABLE, LOADING, UNLOADING, UNKNOWN
	Reason  string `json:"reason"`
}

// Worker is one entry of workers.json.
type Worker struct {
	Session string `json:"session"`
	UID     uint32 `json:"uid"` // whose session it is: what the daemon knows, not what the server says
	Announcement
}

// Workers is workers.json.
type Workers struct {
	Workers []Worker `json:"workers"`
}

// Parse reads an announcement. What it does not know of it is left out.
func Parse(b []byte) (*Announcement, error) {
	if len(b) > Most {
		return nil, fmt.Errorf("%w: %d bytes, and %d are the most", ErrMalformed, len(b), Most)
	}
	var a Announcement
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&a); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: there is more behind it", ErrMalformed)
	}
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if a.Models == nil {
		a.Models = []Model{} // [], never null
	}
	return &a, nil
}

func (a *Announcement) check() error {
	switch {
	case a.PID <= 0:
		return fmt.Errorf("pid is %d", a.PID)
	case len(a.Listen) == 0:
		return errors.New("it listens nowhere")
	case a.HTTP != "" && !isHostPort(a.HTTP):
		return fmt.Errorf("http is %q, want HOST:PORT", a.HTTP)
	case a.StartedAt.IsZero():
		return errors.New("started_at is missing")
	}
	for _, l := range a.Listen {
		if p, ok := strings.CutPrefix(l, "unix:"); ok && path.IsAbs(p) && !strings.Contains(p, "\x00") || !ok && isHostPort(l) {
			continue
		}
		return fmt.Errorf("it listens on %q, want unix:/PATH or HOST:PORT", l)
	}
	for _, m := range a.Models {
		switch m.State {
		case "READY", "UNAVAILABLE", "LOADING", "UNLOADING", "UNKNOWN":
		default:
			return fmt.Errorf("model %q is %q", m.Name, m.State)
		}
		if m.Name == "" {
			return errors.New("a model has no name")
		}
	}
	return nil
}

func isHostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	return err == nil && port != ""
}
