// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
)

// measured is what a server has of what may not grow.
type measured struct {
	descriptors int
	goroutines  float64
	heap        float64 // bytes that are in use
	resident    int     // bytes of its own
}

func (m measured) String() string {
	return fmt.Sprintf("%d descriptors, %.0f goroutines, %.1f MB of heap, %.1f MB of its own", m.descriptors, m.goroutines, m.heap/1e6, float64(m.resident)/1e6)
}

func (s *server) measure() measured {
	s.t.Helper()
	fds := must(os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid)))(s.t)
	return measured{len(fds), s.metric("go_goroutines"), s.metric("go_memstats_heap_alloc_bytes"), ownMemory(s.t, s.cmd.Process.Pid)}
}

// ownMemory is what a process has that is no file's.
func ownMemory(t testing.TB, pid int) int {
	t.Helper()
	text := string(must(os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)))(t))
	for line := range strings.SplitSeq(text, "\n") {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			var kb int
			if _, err := fmt.Sscanf(rest, "%d kB", &kb); err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatalf("no RssAnon in\n%s", text)
	return 0
}

// asBefore sees that a server has given back what it took: the memory for tensors, the
// descriptors and the goroutines. The runtime keeps some heap, and frees it late.
func (s *server) asBefore(before measured) {
	s.t.Helper()
	// The metric is asked over connections and by goroutines of its own.
	const descriptors, goroutines, heap = 4, 20, 64 << 20
	var now measured
	start := time.Now()
	within := start.Add(4 * patience)
	for told := start; ; {
		now = s.measure()
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			s.t.Logf("after %v: %v, %.0f bytes of tensors; %s", time.Since(start).Round(time.Second), now, s.metric(taken), s.descriptors())
		}
		good := s.metric(taken) == 0 && now.descriptors <= before.descriptors+descriptors && now.goroutines <= before.goroutines+goroutines
		if good && now.heap <= before.heap+heap {
			s.t.Logf("before: %v; then: %v", before, now)
			return
		}
		if time.Now().After(within) {
			s.t.Errorf("before: %v; then: %v, and %.0f bytes of tensors:\n%s", before, now, s.metric(taken), s.descriptors())
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// descriptors lists what a server has open, for people.
func (s *server) descriptors() string {
	out := map[string]int{}
	dir := fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		to, _ := os.Readlink(dir + "/" + e.Name())
		to, _, _ = strings.Cut(to, "[")
		out[to]++
	}
	return fmt.Sprint(out)
}

// pulse calls a server all the while, as somebody does who has nothing to do with what
// else goes on: each call is answered.
type pulse struct {
	count   atomic.Int64
	failure atomic.Pointer[error]
	longest atomic.Int64
	stop    context.CancelFunc
	stopped chan struct{}
}

func (s *server) pulse() *pulse {
	ctx, cancel := context.WithCancel(s.t.Context())
	p := &pulse{stop: cancel, stopped: make(chan struct{})}
	c := s.another(s.t)
	in := request("echo", [][]byte{make([]byte, 1024)}, tensorOf("x", "UINT8", 1024))
	go func() {
		defer close(p.stopped)
		for ctx.Err() == nil {
			start := time.Now()
			each, done := context.WithTimeout(context.Background(), 2*patience)
			_, err := c.ModelInfer(each, in, grpc.WaitForReady(true))
			done()
			if err != nil {
				p.failure.CompareAndSwap(nil, &err)
				return
			}
			p.longest.Store(max(p.longest.Load(), int64(time.Since(start))))
			p.count.Add(1)
			time.Sleep(20 * time.Millisecond)
		}
	}()
	s.t.Cleanup(func() { cancel(); <-p.stopped })
	return p
}

// end stops calling and sees that each call was answered.
func (p *pulse) end(t testing.TB) {
	t.Helper()
	p.stop()
	<-p.stopped
	if err := p.failure.Load(); err != nil {
		t.Errorf("somebody else's call: %v", *err)
	}
	if p.count.Load() < 10 {
		t.Errorf("somebody else made %d calls", p.count.Load())
	}
	t.Logf("somebody else made %d calls, the longest took %v", p.count.Load(), time.Duration(p.longest.Load()).Round(time.Millisecond))
}
