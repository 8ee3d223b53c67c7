// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// inferenceServer is one that answers calls.
type inferenceServer struct {
	*server
	name    string
	address string
	metrics string // of modelfs
}

// starter starts servers at the same time, as most of that is imports in Python.
type starter struct {
	ctx   context.Context
	bench *bench
	scope *scope

	mu   sync.Mutex
	errs error
	all  sync.WaitGroup
}

// start starts one in the background; wait says how that went.
func (s *starter) start(to **inferenceServer, made *inferenceServer, word string, words ...string) {
	s.all.Go(func() {
		// Nothing of the bench's own: it is how people start it.
		words = append([]string{"-u", "GODEBUG"}, words...)
		running, err := startServer(s.ctx, word, "env", words...)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			s.errs = errors.Join(s.errs, fmt.Errorf("%s: %w", made.name, err))
			return
		}
		made.server = running
		s.scope.add("end "+made.name, func() error {
			if err := running.end(0); err != nil {
				return fmt.Errorf("%w\n%s", err, running.written())
			}
			return nil
		})
		*to = made
	})
}

func (s *starter) wait() error {
	s.all.Wait()
	return s.errs
}

// modelfs starts modelfs serve with a handler of serving_models.py.
func (s *starter) modelfs(to **inferenceServer, name, python, mount, model string, args ...string) {
	socket := "unix:" + s.scope.path(name+".sock")
	scripts := filepath.Join(s.bench.repository, "bench/peers")
	http, err := freePort()
	if err != nil {
		s.errs = errors.Join(s.errs, err)
		return
	}
	words := append([]string{
		"PYTHONPATH=" + scripts, "HF_HUB_OFFLINE=1", s.bench.program, "--mount", mount, "serve",
		"--listen", socket, "--http", http, "--python", python, "--model", model,
	}, args...)
	s.start(to, &inferenceServer{name: name, address: socket, metrics: "http://" + http + "/metrics"}, "modelfs: ready: ", words...)
}

// mlserver starts MLServer as its documentation says: a folder with the model's class and
// two files of settings.
func (s *starter) mlserver(to **inferenceServer, python string) error {
	dir, err := s.scope.folder("mlserver")
	if err != nil {
		return err
	}
	var ports [3]string
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return err
		}
		_, ports[i], _ = net.SplitHostPort(ports[i])
	}
	model, err := os.ReadFile(filepath.Join(s.bench.repository, "bench/peers/mlserver_models.py"))
	if err != nil {
		return err
	}
	settings := fmt.Sprintf(`{"debug": false, "host": "127.0.0.1", "parallel_workers": 0, "grpc_max_message_length": 500000000,
		"grpc_port": %s, "http_port": %s, "metrics_port": %s}`, ports[0], ports[1], ports[2])
	about, err := json.Marshal(map[string]any{"name": servedModel, "implementation": "mlserver_models.Sum", "parallel_workers": 0})
	err = errors.Join(err,
		os.WriteFile(filepath.Join(dir, "mlserver_models.py"), model, 0o644),
		os.WriteFile(filepath.Join(dir, "settings.json"), []byte(settings), 0o644),
		os.WriteFile(filepath.Join(dir, "model-settings.json"), about, 0o644))
	if err != nil {
		return err
	}
	// What it logs goes to its standard output, and it says of itself where it is.
	const run = `cd "$2" && exec "$1" -B -c 'import sys; from mlserver.cli import main; sys.argv = ["mlserver", "start", "."]; main()' >&2`
	s.start(to, &inferenceServer{name: "MLServer", address: "127.0.0.1:" + ports[0]}, "gRPC server running", "sh", "-c", run, "sh", python, dir)
	return nil
}

// aio starts a server of grpc.aio that has the protocol's messages.
func (s *starter) aio(to **inferenceServer, python string) {
	socket := "unix:" + s.scope.path("aio.sock")
	s.start(to, &inferenceServer{name: "grpc.aio", address: socket}, "ready",
		python, "-B", filepath.Join(s.bench.repository, "bench/peers/aio_server.py"), filepath.Join(s.bench.repository, "python/modelfs/inference.binpb"), socket)
}

// freePort is an address that nobody listens at.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// handlers are the processes of a server's handlers.
func (s *inferenceServer) handlers() (pids []int) {
	for _, pid := range children(s.pid()) {
		if words, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.Contains(string(words), "modelfs.worker") {
			pids = append(pids, pid)
		}
	}
	return pids
}

var anonymous = regexp.MustCompile(`(?m)^RssAnon:\s+(\d+) kB$`)

// ownMemory is what a process has that no file backs.
func ownMemory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	found := anonymous.FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("/proc/%d/status has no RssAnon", pid)
	}
	return int64(number(string(found[1]))) << 10, nil
}
