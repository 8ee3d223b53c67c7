// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/resolver"

	"github.com/modelfs/modelfs/internal/announce"
)

// ErrNoServer says that nobody who is trusted serves the model.
var ErrNoServer = errors.New("no server")

// Find returns the addresses of the servers that the mount lists and that are trusted:
// root's and one's own. Those that serve the model come, or all if model is "". Of each
// server it is the Unix socket, if it has one.
func Find(mount, model string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(mount, ".modelfs/workers.json"))
	if err != nil {
		return nil, fmt.Errorf("find servers: %w", err)
	}
	var list announce.Workers
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("find servers in %s: %w", mount, err)
	}
	var out []string
	untrusted := 0
	for _, w := range list.Workers {
		serves := model == "" || slices.ContainsFunc(w.Models, func(m announce.Model) bool { return m.Name == model })
		switch {
		case !serves || len(w.Listen) == 0:
		case w.UID != 0 && int(w.UID) != os.Geteuid():
			untrusted++
		default:
			out = append(out, preferred(w.Listen))
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	what := "anything"
	if model != "" {
		what = model
	}
	if untrusted > 0 {
		return nil, fmt.Errorf("%w: nobody but other users serves %s at %s: name the address of one to use it, if you trust it", ErrNoServer, what, mount)
	}
	return nil, fmt.Errorf("%w: nobody serves %s at %s: start modelfs serve", ErrNoServer, what, mount)
}

func preferred(listen []string) string {
	for _, l := range listen {
		if strings.HasPrefix(l, "unix:") {
			return l
		}
	}
	return listen[0]
}

// finder is a resolver of gRPC that reads the mount's list: at first, when a connection
// is lost, and from time to time while there is nobody.
type finder struct{ mount, model string }

// Scheme is that of the targets that a finder resolves.
func (*finder) Scheme() string { return "modelfs" }

// Build starts to look.
func (f *finder) Build(_ resolver.Target, conn resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	l := &looking{finder: f, conn: conn, again: make(chan struct{}, 1), stop: make(chan struct{})}
	found := l.look()
	l.done.Go(func() { l.run(found) })
	return l, nil
}

// looking is one connection's resolver.
type looking struct {
	*finder
	conn  resolver.ClientConn
	again chan struct{}
	stop  chan struct{}
	done  sync.WaitGroup
}

// ResolveNow is asked for when a connection is lost.
func (l *looking) ResolveNow(resolver.ResolveNowOptions) {
	select {
	case l.again <- struct{}{}:
	default:
	}
}

// Close ends it.
func (l *looking) Close() {
	close(l.stop)
	l.done.Wait()
}

func (l *looking) run(found bool) {
	pause := time.NewTimer(mostPause)
	defer pause.Stop()
	for {
		var soon <-chan time.Time
		if !found {
			pause.Reset(mostPause)
			soon = pause.C
		}
		select {
		case <-l.stop:
			return
		case <-soon:
		case <-l.again:
		}
		found = l.look()
	}
}

func (l *looking) look() bool {
	list, err := Find(l.mount, l.model)
	if err != nil {
		l.conn.ReportError(err)
		return false
	}
	var state resolver.State
	for _, a := range list {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: a, ServerName: "localhost"})
	}
	return l.conn.UpdateState(state) == nil
}
