// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	rpc "google.golang.org/grpc/status"

	"github.com/modelfs/modelfs/workers/inference"
)

// TestDrain: a server that is told to end answers what runs and what waits, takes
// nothing new, and leaves nothing.
func TestDrain(t *testing.T) {
	p := newPlace(t, normal)
	d := p.start()
	s := d.serve([]string{"stamp=stress_models:Stamp"}, "--workers", "2")
	const calls = 8 // of which two run, and six wait
	c := s.client()
	var answered atomic.Int64
	var all sync.WaitGroup
	for i := range int64(calls) {
		all.Go(func() {
			out, err := c.ModelInfer(s.context(), stamp("stamp", i, "x", 1500*time.Millisecond))
			if err != nil {
				t.Errorf("a call that ran or waited: %v", err)
			} else if reason := wrongStamp(i, "x", out); reason != "" {
				t.Error(reason)
			}
			answered.Add(1)
		})
	}
	s.await("six wait", func() bool { return s.metric(`modelfs_inference_waiting{model="stamp"}`) == calls-2 })
	s.cmd.Process.Signal(unix.SIGTERM)
	s.await("it ends", func() bool { return s.get("/v2/health/ready") == http.StatusServiceUnavailable })
	// On a new connection or an old one: the first refusal comes while the others run.
	for _, c := range []inference.GRPCInferenceServiceClient{c, s.another(t)} {
		var err error
		s.await("new calls are refused", func() bool {
			ctx, cancel := context.WithTimeout(s.t.Context(), 2*patience)
			defer cancel()
			_, err = c.ModelInfer(ctx, stamp("stamp", 100, "x", 0))
			return err != nil
		})
		if rpc.Code(err) != codes.Unavailable {
			t.Errorf("a new call: %v", err)
		}
	}
	if n := answered.Load(); n == calls {
		t.Error("the control: all were answered before a new call was refused")
	}
	all.Wait()
	s.wait()
}

// TestDrainIsBounded: what takes longer than the grace period is cut off.
func TestDrainIsBounded(t *testing.T) {
	p := newPlace(t, normal)
	d := p.start()
	s := d.serve([]string{"stamp=stress_models:Stamp"}, "--grace", "300ms")
	ended := make(chan error, 1)
	go func() {
		_, err := s.client().ModelInfer(s.context(), stamp("stamp", 1, "x", time.Hour))
		ended <- err
	}()
	s.await("the call runs", func() bool { return s.metric(taken) > 0 })
	s.end()
	if err := <-ended; rpc.Code(err) != codes.Unavailable && rpc.Code(err) != codes.Canceled {
		t.Errorf("the call: %v", err)
	}
}

// TestServerKilled: with the server its handlers die, it is not listed any more, and the
// next one starts in its place.
func TestServerKilled(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start()
		s := d.serve([]string{"stamp=stress_models:Stamp"}, "--workers", "2")
		eventually(t, patience, "it is listed", func() bool {
			got := d.workersSeenBy(d.reader)
			return len(got) == 1 && got[0].PID == s.cmd.Process.Pid && len(got[0].Models) == 1 && got[0].Models[0].State == "READY"
		})
		s.await("both handlers run", func() bool { return len(s.handlers()) == 2 })
		pids := s.handlers()
		started := make(chan struct{})
		go func() { // one of them works
			close(started)
			_, _ = s.client().ModelInfer(s.context(), stamp("stamp", 1, "x", time.Hour))
		}()
		<-started
		s.await("the call runs", func() bool { return s.metric(taken) > 0 })
		if held := d.status().Memory.Session; m.passes() != (held >= 64<<20) {
			t.Errorf("the control: its session has %d bytes", held)
		}
		s.die()
		eventually(t, patience, "it is not listed", func() bool { return len(d.workersSeenBy(d.reader)) == 0 })
		eventually(t, patience, "its memory is free", func() bool { return d.status().Memory.Session < 1<<20 })
		eventually(t, patience, "its handlers are gone", func() bool {
			for _, pid := range pids {
				if text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); len(text) > 0 {
					return false
				}
			}
			return true
		})
		if _, err := os.Lstat(s.socket); err != nil {
			t.Errorf("the control: its socket is left: %v", err)
		}
		next := p.serverAt(s.socket, d, []string{"stamp=stress_models:Stamp"})
		next.start()
		next.awaitReady()
		if _, err := next.client().ModelInfer(next.context(), stamp("stamp", 1, "x", 0)); err != nil {
			t.Error(err)
		}
		// What it had no time to take away: its session, which goes when it has been idle
		// for its TTL, and the package that its handlers import.
		d.shell(fmt.Sprintf("rm -r %s %s", d.at("sessions", fmt.Sprintf("serve-%d-*", s.cmd.Process.Pid)), filepath.Join(p.dir, "tmp/modelfs-serve-package-*")))
		next.end()
	}, normal, noPassthrough, unprivileged)
}
