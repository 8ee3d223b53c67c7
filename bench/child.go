// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// answer is what a helper, or a peer in Python, says of what it did: one line of
// JSON on its standard output.
type answer struct {
	Seconds float64   `json:"seconds"`
	Bytes   int64     `json:"bytes,omitempty"`   // read, mapped or loaded
	Sum     uint64    `json:"sum,omitempty"`     // of the bytes touched
	Huge    int64     `json:"huge,omitempty"`    // bytes of the mapping in huge pages
	RSS     int64     `json:"rss,omitempty"`     // bytes more in the process's memory than before
	Count   int       `json:"count,omitempty"`   // names seen
	Samples []float64 `json:"samples,omitempty"` // seconds of each repetition
	Closes  []float64 `json:"closes,omitempty"`  // of its close alone
	P99     float64   `json:"p99,omitempty"`     // seconds that 99 of 100 repetitions took at the most
	Version string    `json:"version,omitempty"` // of the peer
}

// ask runs a program to its end and reads its answer.
func ask(ctx context.Context, program string, args ...string) (answer, error) {
	cmd := command(ctx, program, args...)
	var errText strings.Builder
	cmd.Stderr = &errText
	out, err := cmd.Output()
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, errText.String())
	}
	var a answer
	if err := json.Unmarshal(out, &a); err != nil {
		return answer{}, fmt.Errorf("%s said %q: %w", strings.Join(cmd.Args, " "), out, err)
	}
	return a, nil
}

// helper asks this program in one of its helper modes.
func (b *bench) helper(ctx context.Context, args ...string) (answer, error) {
	return ask(ctx, b.self, append([]string{helperWord}, args...)...)
}

// command is a process that does not outlive this one, and does not hear Ctrl-C:
// what to do then is decided here. It gets time to take its own things back.
func command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	// The Go runtime interrupts what runs for more than 10 ms by a signal, and for it
	// a helper that makes raw system calls does nothing else: its opens would be
	// interrupted, which is not what is measured.
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// server is a process that runs until it is told to end.
type server struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of its end; read after ended

	mu  sync.Mutex
	log strings.Builder // what it wrote
}

// startServer starts one, and returns when it has written a line with the word.
func startServer(ctx context.Context, word, program string, args ...string) (*server, error) {
	s := &server{cmd: command(context.WithoutCancel(ctx), program, args...), ended: make(chan struct{})}
	output, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	go s.follow(output, word, ready)
	select {
	case <-ready:
		return s, nil
	case <-s.ended:
		err = fmt.Errorf("%s ended: %w", strings.Join(s.cmd.Args, " "), s.err)
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(time.Minute):
		err = fmt.Errorf("%s is not ready after a minute", strings.Join(s.cmd.Args, " "))
	}
	return nil, errors.Join(err, s.end(0), errors.New(s.written()))
}

func (s *server) follow(output io.Reader, word string, ready chan<- struct{}) {
	defer close(s.ended)
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		s.mu.Lock()
		s.log.WriteString(lines.Text() + "\n")
		s.mu.Unlock()
		if ready != nil && strings.Contains(lines.Text(), word) {
			close(ready)
			ready = nil
		}
	}
	_, _ = io.Copy(io.Discard, output) // a line too long for the scanner must not block it
	s.err = s.cmd.Wait()
}

func (s *server) written() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// end waits for the end of a server that was told to, tells it if it does not
// come, and kills it at last.
func (s *server) end(patience time.Duration) error {
	select {
	case <-s.ended:
		return s.err
	case <-time.After(patience):
	}
	s.cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-s.ended:
		return s.err
	case <-time.After(10 * time.Second):
	}
	s.cmd.Process.Kill()
	<-s.ended
	return fmt.Errorf("%s did not end and was killed\n%s", s.cmd.Path, s.written())
}
