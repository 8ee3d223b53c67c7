// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/internal/announce"
)

// session is the server's own in the mount: its memory lies there, counted as all
// sessions are, and its announcement, which the daemon lists in .modelfs/workers.json for
// as long as somebody has it open for writing: of a server that is killed the kernel
// closes it.
type session struct {
	path   string
	folder *os.File // keeps the session, which goes when nobody has anything of it open

	mu    sync.Mutex
	file  *os.File // guarded by mu: the announcement
	files int      // guarded by mu: that were made
}

func openSession(mount string) (*session, error) {
	path := filepath.Join(mount, "sessions", fmt.Sprintf("serve-%d-%s", os.Getpid(), strings.ToLower(rand.Text()[:8])))
	if err := os.Mkdir(path, 0o711); err != nil { // to be passed through: what is in it has modes of its own
		return nil, fmt.Errorf("make a session for the server: %w", err)
	}
	folder, err := os.Open(path)
	if err != nil {
		_ = os.Remove(path)
		return nil, fmt.Errorf("open the server's session: %w", err)
	}
	s := &session{path: path, folder: folder}
	// What it takes is bounded by the mount's budget, and by --max-tensor-bytes.
	if err := unix.Fsetxattr(int(folder.Fd()), "user.modelfs.quota", []byte("0"), 0); err != nil {
		s.close()
		return nil, fmt.Errorf("quota of the server's session: %w", err)
	}
	return s, nil
}

// memory makes a file of the session for the arena. It has no name: who maps it keeps
// it, and nobody else finds it.
func (s *session) memory(size int64) (*os.File, error) {
	s.mu.Lock()
	s.files++
	path := filepath.Join(s.path, fmt.Sprintf("memory-%d", s.files))
	s.mu.Unlock()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make memory of the session: %w", err)
	}
	if err := f.Truncate(size); err != nil {
		_ = f.Close()
		_ = os.Remove(path)
		return nil, fmt.Errorf("make %d bytes of memory of the session: %w", size, err)
	}
	return f, nil
}

// announce puts a new announcement in place of the one before. Who reads it gets one of
// the two whole.
func (s *session) announce(a announce.Announcement) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := filepath.Join(s.path, announce.File+".new")
	f, err := os.OpenFile(next, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	if _, err = f.Write(text); err == nil {
		err = os.Rename(next, filepath.Join(s.path, announce.File))
	}
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("announce: %w", err)
	}
	if s.file != nil {
		_ = s.file.Close()
	}
	s.file = f
	return nil
}

func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		_ = s.file.Close()
	}
	_ = os.RemoveAll(s.path)
	_ = s.folder.Close()
}

// keepAnnouncing writes the announcement each time that something changed, until the
// channel is closed.
func (s *session) keepAnnouncing(changed <-chan struct{}, now func() announce.Announcement, log *slog.Logger) {
	for range changed {
		if err := s.announce(now()); err != nil && !errors.Is(err, os.ErrNotExist) {
			log.Warn("clients that look in .modelfs/workers.json may not find this server", "error", err)
		}
	}
}

// passesThrough says whether mappings of the mount's files outlive its daemon: else
// memory of it would end this process with the daemon.
func passesThrough(mount string) bool {
	b, err := os.ReadFile(filepath.Join(mount, ".modelfs", "status.json"))
	if err != nil {
		return false
	}
	var status struct {
		DataPath struct {
			Passthrough bool `json:"passthrough"`
		} `json:"data_path"`
	}
	return json.Unmarshal(b, &status) == nil && status.DataPath.Passthrough
}
