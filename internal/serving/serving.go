// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/modelfs/modelfs/internal/announce"
	"github.com/modelfs/modelfs/tensors/shm"
	"github.com/modelfs/modelfs/workers"
	"github.com/modelfs/modelfs/workers/arena"
	"github.com/modelfs/modelfs/workers/caller"
	"github.com/modelfs/modelfs/workers/handler"
	"github.com/modelfs/modelfs/workers/reference"
)

// chunk is how large a file of the arena is, unless a call needs more.
const chunk = 64 << 20

// serving is one server while it runs.
type serving struct {
	cfg      Config
	python   string
	env      []string
	presence *presence // nil without a mount
	server   *workers.Server
	arena    *arena.Arena
	started  time.Time
	changed  chan struct{}
	listen   []string
	http     string

	ends []func() // what is to be given back, the last one first
}

// Run serves until ctx ends; then what runs or waits is answered, within the grace
// period. ready is told the addresses when they answer; models may still be loading.
func Run(ctx context.Context, cfg Config, ready func(listen []string, http string)) (err error) {
	s := &serving{cfg: cfg, started: time.Now(), changed: make(chan struct{}, 1)}
	defer func() { s.end() }()
	if err := s.prepare(); err != nil {
		return err
	}
	limitProcessors(cfg.Handlers * len(cfg.Models))
	listeners, err := s.listenAll()
	if err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- s.server.Serve(l) }()
	}
	s.tell()
	ready(s.listen, s.http)
	select {
	case <-ctx.Done():
		s.cfg.Log.Info("shutting down: what runs is answered first", "at most", cfg.Grace)
	case err = <-failed:
		err = fmt.Errorf("serve: %w", err)
	}
	last, cancel := context.WithTimeout(context.Background(), cfg.Grace)
	defer cancel()
	go func() {
		select {
		case <-cfg.Hurry:
			cancel()
		case <-last.Done():
		}
	}()
	s.server.Drain(last)
	return err
}

// prepare finds and makes what the models need.
func (s *serving) prepare() (err error) {
	if s.python, err = interpreter(s.cfg.Python); err != nil {
		return err
	}
	dir, remove, err := unpack()
	if err != nil {
		return err
	}
	s.ends = append(s.ends, remove)
	s.env = environment(dir)
	if s.cfg.Mount == "" {
		return nil
	}
	s.env = append(s.env, "MODELFS_MOUNT="+s.cfg.Mount) // for what handlers open by themselves
	if s.presence, err = openPresence(s.cfg.Mount, s.cfg.Log); err != nil {
		return err
	}
	s.ends = append(s.ends, s.presence.close)
	return nil
}

func (s *serving) listenAll() ([]net.Listener, error) {
	var out []net.Listener
	for _, address := range s.cfg.Listen {
		l, err := caller.Listen(address, s.cfg.SocketMode)
		if err != nil {
			return nil, fmt.Errorf("--listen %s: %w", address, err)
		}
		s.ends = append(s.ends, func() { _ = l.Close() })
		out = append(out, l)
		if a := l.Addr(); a.Network() == "unix" {
			s.listen = append(s.listen, "unix:"+a.String())
		} else {
			s.listen = append(s.listen, a.String())
		}
	}
	return out, nil
}

// start makes the server and what it is made of.
func (s *serving) start(ctx context.Context) error {
	creds, ids, err := identities(s.cfg)
	if err != nil {
		return err
	}
	wc := workers.Config{
		Version: s.cfg.Version, Find: s.find, Log: s.cfg.Log, MaxTensorBytes: s.cfg.MaxTensorBytes, Changed: s.tell,
		Credentials: caller.Credentials(creds),
		Callers:     func(ctx context.Context) (caller.Caller, error) { return caller.FromContext(ctx, ids) },
		Arena:       arena.New(s.maker(), chunk),
	}
	if wc.Arena.Limit = s.cfg.TensorMemory; wc.Arena.Limit == 0 {
		wc.Arena.Limit = shm.Available() / 2
	}
	opener, err := reference.NewOpener(reference.Options{Root: s.cfg.Mount, NextKey: handler.NextKey, Command: s.cfg.Helper})
	if err != nil {
		return err
	}
	wc.References = reference.New(opener, s.cfg.AllowClientSharedMemory)
	s.ends = append(s.ends, func() { _ = wc.References.Close() })
	for _, m := range s.cfg.Models {
		c, err := s.modelConfig(m)
		if err != nil {
			return err
		}
		wc.Models = append(wc.Models, c)
	}
	if s.cfg.Traces {
		h, end, err := startTracing(ctx, s.cfg.Version)
		if err != nil {
			return err
		}
		wc.Stats = h
		s.ends = append(s.ends, func() {
			last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if err := end(last); err != nil {
				s.cfg.Log.Warn("traces were not all sent", "error", err)
			}
		})
	}
	s.server, s.arena = workers.New(wc), wc.Arena
	if s.cfg.HTTP != "" {
		h, at, err := startHTTP(s.cfg.HTTP, s.server, s.server.Ready)
		if err != nil {
			s.server.Close()
			return err
		}
		s.http = at.String()
		s.ends = append(s.ends, func() { _ = h.Close() })
	}
	s.announceChanges() // of what is all there now
	return nil
}

// find serves a model of the mount that nobody named at the start: one that needs no code.
func (s *serving) find(name string) (workers.ModelConfig, error) {
	c, err := s.modelConfig(Model{Name: name})
	if err != nil {
		return c, fmt.Errorf("%w: %w", workers.ErrNoModel, err)
	}
	return c, nil
}

// maker makes the arena's files.
func (s *serving) maker() arena.Maker {
	if s.presence != nil {
		return s.presence.memory
	}
	return arena.Memfds()
}

// announceChanges starts the goroutine that keeps the announcement current.
func (s *serving) announceChanges() {
	if s.presence == nil {
		return
	}
	var writer sync.WaitGroup
	writer.Go(func() { s.presence.keep(s.changed, s.announcement, s.arena.Retire) })
	s.ends = append(s.ends, func() { close(s.changed); writer.Wait() })
}

// tell has the announcement written again.
func (s *serving) tell() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *serving) announcement() announce.Announcement {
	a := announce.Announcement{PID: os.Getpid(), Listen: absolute(s.listen), HTTP: s.http, StartedAt: s.started.UTC(), Models: []announce.Model{}}
	for _, m := range s.server.Models() {
		m.Reason = shortened(m.Reason)
		a.Models = append(a.Models, announce.Model(m))
	}
	return a
}

// shortened keeps a reason, which may end with a handler's last words, to what fits many
// times into an announcement.
func shortened(reason string) string {
	const most = 400
	if len(reason) <= most {
		return reason
	}
	return strings.ToValidUTF8(reason[:most], "") + "…"
}

// absolute makes the paths of sockets such that others can use them.
func absolute(listen []string) []string {
	out := make([]string, 0, len(listen))
	for _, l := range listen {
		if path, ok := strings.CutPrefix(l, "unix:"); ok {
			if abs, err := filepath.Abs(path); err == nil {
				l = "unix:" + abs
			}
		}
		out = append(out, l)
	}
	return out
}

// end gives everything back.
func (s *serving) end() {
	for i := len(s.ends) - 1; i >= 0; i-- {
		s.ends[i]()
	}
}
