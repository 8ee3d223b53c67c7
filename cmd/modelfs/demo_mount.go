// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// demoMount is a `modelfs mount` in the foreground of a process of its own.
type demoMount struct {
	process *exec.Cmd
	ended   chan struct{} // closed when it is gone
	err     error         // of its end; read after ended

	mu  sync.Mutex
	log strings.Builder // what it wrote
}

// startDemoMount mounts and returns when the mount is ready.
func startDemoMount(ctx context.Context, self, models, mount string) (*demoMount, error) {
	m := &demoMount{ended: make(chan struct{})}
	m.process = exec.Command(self, "mount", "--models", models, "--memory", "512MiB", mount)
	m.process.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGTERM, Setpgid: true} // Ctrl-C is for the demo alone
	stderr, err := m.process.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := m.process.Start(); err != nil {
		return nil, fmt.Errorf("start the mount: %w", err)
	}
	ready := make(chan struct{})
	go m.follow(stderr, ready)
	select {
	case <-ready:
		return m, nil
	case <-m.ended:
		return nil, fmt.Errorf("the mount failed (%v):\n%s", m.err, m.written())
	case <-ctx.Done():
		m.kill()
		return nil, errors.New("interrupted")
	case <-time.After(20 * time.Second):
		m.kill()
		return nil, fmt.Errorf("the mount was not ready after 20 s:\n%s", m.written())
	}
}

func (m *demoMount) follow(stderr io.Reader, ready chan<- struct{}) {
	defer close(m.ended)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if ready != nil && strings.HasPrefix(lines.Text(), "modelfs: ready") {
			close(ready)
			ready = nil
		}
		m.mu.Lock()
		m.log.WriteString(lines.Text() + "\n")
		m.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, stderr) // a line too long for the scanner must not block it
	m.err = m.process.Wait()
}

func (m *demoMount) written() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.String()
}

// wait waits for the end of a mount that was detached.
func (m *demoMount) wait(most time.Duration) error {
	select {
	case <-m.ended:
	case <-time.After(most):
		return fmt.Errorf("the daemon did not end within %s:\n%s", most, m.written())
	}
	if m.err != nil {
		return fmt.Errorf("the daemon ended with %w:\n%s", m.err, m.written())
	}
	return nil
}

// kill ends it, gently first.
func (m *demoMount) kill() {
	m.process.Process.Signal(unix.SIGTERM)
	select {
	case <-m.ended:
	case <-time.After(cleanUp):
		m.process.Process.Kill()
		<-m.ended
	}
}
