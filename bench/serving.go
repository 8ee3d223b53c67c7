// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const servingScript = "serving.py"

func needServing(p plan) room {
	largest := p.servingSizes[len(p.servingSizes)-1]
	// In the session, in the caller and in a server's message; Python's servers have it
	// several times.
	return room{disk: 256 << 20, memory: 8*largest + 1<<30}
}

// serving is what the parts of the measurement share.
type serving struct {
	*bench
	scope  *scope
	daemon *daemon
	python *library // of the peers, and of handlers

	one, batched  *inferenceServer // modelfs, call by call and in batches
	mlserver, aio *inferenceServer
}

// measureServing: calls of a model over gRPC, beside those of others' servers.
func measureServing(ctx context.Context, b *bench, s *scope) ([]result, error) {
	program, err := b.python.servers(ctx)
	if err != nil {
		return nil, err
	}
	models, err := s.folder("src")
	if err != nil {
		return nil, err
	}
	var all int64
	for _, n := range b.plan.servingSizes {
		all += n
	}
	d, err := b.mountModels(ctx, s, "mnt", models, all+1<<30)
	if err != nil {
		return nil, err
	}
	m := &serving{bench: b, scope: s, daemon: d, python: &library{program: program, source: filepath.Join(b.repository, "python"), scripts: filepath.Join(b.repository, "bench/peers")}}
	if err := m.start(ctx); err != nil {
		return nil, err
	}
	path, err := d.dataPath()
	if err != nil {
		return nil, err
	}
	var results []result
	var errs error
	for _, part := range []func(context.Context) ([]result, error){m.sizes, m.load, m.small, m.memory, m.minilm} {
		lines, err := part(ctx)
		results, errs = append(results, lines...), errors.Join(errs, err)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if len(results) > 0 {
		results[0].Note = fmt.Sprintf("modelfs and grpc.aio at a Unix socket, MLServer 1.7.1 (parallel_workers 0) over TCP, as it has no other; the caller is in Go%s", path.lacks())
	}
	return results, errs
}

// start starts all servers but those of MiniLM.
func (m *serving) start(ctx context.Context) error {
	m.say("start the servers")
	s := &starter{ctx: ctx, bench: m.bench, scope: m.scope}
	err := s.mlserver(&m.mlserver, m.python.program)
	s.aio(&m.aio, m.python.program)
	s.modelfs(&m.one, "one", m.python.program, m.daemon.mount, servedModel+"=serving_models:Sum")
	s.modelfs(&m.batched, "batched", m.python.program, m.daemon.mount, servedModel+"=serving_models:Rows", "--max-batch", "32")
	return errors.Join(err, s.wait())
}

// writeInputs puts an input of each size into a session of the mount, which stays as long
// as its folder is open.
func (m *serving) writeInputs(sizes []int64) (paths []string, err error) {
	const session = "sessions/bench-serving"
	folder := m.daemon.file(session)
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, err
	}
	open, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	m.scope.add("remove "+session, func() error { return errors.Join(os.RemoveAll(folder), open.Close()) })
	for _, n := range sizes {
		name := fmt.Sprintf("x%d", n)
		if err := os.WriteFile(filepath.Join(folder, name), servedBytes(int(n)), 0o600); err != nil {
			return nil, err
		}
		paths = append(paths, session+"/"+name)
	}
	return paths, nil
}
