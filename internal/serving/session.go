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
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/internal/announce"
	"github.com/modelfs/modelfs/workers/arena"
)

// glance is how often the server looks whether the mount is there.
const glance = time.Second

// presence is the server in a mount, which may go and come back: a session as long as
// there is one. It is looked for by keep alone.
type presence struct {
	mount string
	own   arena.Maker // makes memory where the mount has none to offer
	log   *slog.Logger

	mu      sync.Mutex
	session *session // guarded by mu; nil: the mount is gone
}

func openPresence(mount string, log *slog.Logger) (*presence, error) {
	s, err := openSession(mount)
	if err != nil {
		return nil, err
	}
	return &presence{mount: mount, own: arena.Memfds(), log: log, session: s}, nil
}

func (p *presence) current() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session
}

func (p *presence) become(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session = s
}

// memory makes a file for the arena: of the session, where mappings outlive the daemon,
// else of this process's own. A mount that is full has no memory; one that is gone does
// not keep anybody from being answered.
func (p *presence) memory(size int64) (*os.File, error) {
	s := p.current()
	if s == nil || !s.passesThrough {
		return p.own(size)
	}
	f, err := s.memory(size)
	if err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return p.own(size)
	}
	return f, err
}

// keep writes the announcement each time that something changed, until the channel is
// closed. When the daemon has died and the mount is there again, it has a new session
// there. gone is told that the memory of the one before cannot be mapped any more: it is
// there for whoever has mapped it.
func (p *presence) keep(changed <-chan struct{}, now func() announce.Announcement, gone func()) {
	look := time.NewTicker(glance)
	defer look.Stop()
	for {
		news := false
		select {
		case _, news = <-changed:
			if !news {
				return
			}
		case <-look.C:
			news = p.look(gone)
		}
		s := p.current()
		if !news || s == nil {
			continue
		}
		if err := s.announce(now()); err != nil && s.there() == nil {
			p.log.Warn("clients that look in .modelfs/workers.json may not find this server", "error", err)
		}
	}
}

// look sees whether the session is there still, and says whether it is a new one.
func (p *presence) look(gone func()) bool {
	s := p.current()
	if s != nil {
		err := s.there()
		if err == nil {
			return false
		}
		s.close()
		p.become(nil)
		gone()
		p.log.Warn("the mount is gone: models go on with what they have of it", "mount", p.mount, "error", err)
	}
	s, err := openSession(p.mount)
	if err != nil {
		return false // not yet
	}
	p.become(s)
	p.log.Info("the mount is there again", "mount", p.mount)
	return true
}

func (p *presence) close() {
	if s := p.current(); s != nil {
		s.close()
	}
}

// session is the server's own in the mount: its memory lies there, counted as all
// sessions are, and its announcement, which the daemon lists in .modelfs/workers.json for
// as long as somebody has it open for writing: of a server that is killed the kernel
// closes it.
type session struct {
	path          string
	folder        *os.File // keeps the session, which goes when nobody has anything of it open
	passesThrough bool
	files         atomic.Int64 // that were made
	file          *os.File     // the announcement; of whoever announces
}

func openSession(mount string) (*session, error) {
	passes, err := passesThrough(mount)
	if err != nil {
		return nil, fmt.Errorf("look at the mount: %w", err)
	}
	path := filepath.Join(mount, "sessions", fmt.Sprintf("serve-%d-%s", os.Getpid(), strings.ToLower(rand.Text()[:8])))
	if err := os.Mkdir(path, 0o711); err != nil { // to be passed through: what is in it has modes of its own
		return nil, fmt.Errorf("make a session for the server: %w", err)
	}
	folder, err := os.Open(path)
	if err != nil {
		_ = os.Remove(path)
		return nil, fmt.Errorf("open the server's session: %w", err)
	}
	s := &session{path: path, folder: folder, passesThrough: passes}
	// What it takes is bounded by the mount's budget, and by --max-tensor-bytes.
	if err := unix.Fsetxattr(int(folder.Fd()), "user.modelfs.quota", []byte("0"), 0); err != nil {
		s.close()
		return nil, fmt.Errorf("quota of the server's session: %w", err)
	}
	return s, nil
}

// there asks the daemon, and not what the kernel remembers, whether the session is there.
func (s *session) there() error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(s.folder.Fd()), &st); err != nil {
		return fmt.Errorf("statfs: %w", err)
	}
	_, err := os.Stat(s.path)
	return err
}

// memory makes a file of the session for the arena. It has no name: who maps it keeps
// it, nobody else finds it, and it goes with this process, however that ends.
func (s *session) memory(size int64) (*os.File, error) {
	path := filepath.Join(s.path, fmt.Sprintf("memory-%d", s.files.Add(1)))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make memory of the session: %w", err)
	}
	if err := errors.Join(f.Truncate(size), os.Remove(path)); err != nil {
		_ = f.Close()
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
	if s.file != nil {
		_ = s.file.Close()
	}
	_ = os.RemoveAll(s.path)
	_ = s.folder.Close()
}

// passesThrough says whether mappings of the mount's files outlive its daemon: else
// memory of it would end this process with the daemon.
func passesThrough(mount string) (bool, error) {
	b, err := os.ReadFile(filepath.Join(mount, ".modelfs", "status.json"))
	if err != nil {
		return false, err
	}
	var status struct {
		DataPath struct {
			Passthrough bool `json:"passthrough"`
		} `json:"data_path"`
	}
	if err := json.Unmarshal(b, &status); err != nil {
		return false, fmt.Errorf("status.json: %w", err)
	}
	return status.DataPath.Passthrough, nil
}
