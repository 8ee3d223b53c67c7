// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/workers/handler"
)

// mortal is a handler in this process that dies when it is told to.
type mortal struct {
	dead chan struct{}
	why  error
}

func (*mortal) Spec() handler.Spec { return handler.Spec{Concurrency: 2} }
func (m *mortal) Infer(context.Context, *handler.Request, func(*handler.Response) error) error {
	return m.Err()
}
func (*mortal) Close() error            { return nil }
func (m *mortal) Dead() <-chan struct{} { return m.dead }
func (m *mortal) Err() error {
	select {
	case <-m.dead:
		return m.why
	default:
		return nil
	}
}
func (m *mortal) die() { close(m.dead) }

// TestPoolReplaces goes through a handler's deaths in time that is not real.
func TestPoolReplaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var mu sync.Mutex
		var trace []string
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			trace = append(trace, fmt.Sprintf("%v "+format, append([]any{time.Since(begin)}, args...)...))
		}
		born := make(chan *mortal, 1)
		var working atomic.Int32
		var answers atomic.Bool
		refuses := true
		p := handler.NewPool(handler.PoolConfig{
			Handlers: 1,
			Start: func(context.Context, int) (handler.Handler, error) {
				note("start")
				if refuses {
					refuses = false
					return nil, errors.New("needs the package foo")
				}
				m := &mortal{make(chan struct{}), errors.New("killed by signal 9")}
				born <- m
				return m, nil
			},
			Work: func(ctx context.Context, h handler.Handler) {
				working.Add(1)
				if answers.Load() {
					_ = h.Infer(ctx, nil, nil)
				}
				<-ctx.Done()
				working.Add(-1)
			},
			Changed: func(s handler.Status) { note("%s %s", s.State, s.Reason) },
		})
		for range 4 {
			m := <-born
			synctest.Wait()
			if n := working.Load(); n != 1 {
				t.Errorf("%d handlers work", n)
			}
			m.die()
		}
		m := <-born
		time.Sleep(2 * time.Minute) // it lives, and is well
		m.die()
		answers.Store(true)
		for range 5 {
			m = <-born
			synctest.Wait()
			m.die()
		}
		<-born
		synctest.Wait()
		p.Close(t.Context())
		if working.Load() != 0 {
			t.Error("a handler works still")
		}
		want := []string{
			"0s start", "0s UNAVAILABLE needs the package foo",
			"100ms start", "100ms READY ",
			"300ms start",
			"300ms UNAVAILABLE killed by signal 9", // the third in a row
			"700ms start", "1.5s start", "3.1s start",
			"4.1s READY ", // it stays
			"2m3.2s start", "2m3.3s start", "2m3.4s start", "2m3.5s start", "2m3.6s start", "2m3.7s start",
			"2m3.7s UNAVAILABLE it is being unloaded",
		}
		got := strings.Join(trace, "\n")
		if got != strings.Join(want, "\n") {
			t.Errorf("%s", got)
		}
	})
}

// TestPoolSaysItOnce: what does not start for the same reason is logged once, and a death
// each time.
func TestPoolSaysItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer // the pool's goroutine is done with it when Close returns
		starts := 0
		p := handler.NewPool(handler.PoolConfig{
			Log: slog.New(slog.NewTextHandler(&log, nil)),
			Start: func(context.Context, int) (handler.Handler, error) {
				switch starts++; {
				case starts <= 3:
					return nil, errors.New("there is no module foo")
				case starts <= 6:
					return nil, errors.New("there is no module bar")
				case starts <= 9:
					m := &mortal{make(chan struct{}), errors.New("killed by signal 9")}
					m.die()
					return m, nil
				}
				return nil, errors.New("there is no module bar")
			},
			Work: func(context.Context, handler.Handler) {},
		})
		time.Sleep(time.Hour)
		p.Close(t.Context())
		for what, n := range map[string]int{"module foo": 1, "module bar": 2, "killed by signal 9": 3} {
			if got := strings.Count(log.String(), what); got != n {
				t.Errorf("%q is said %d times, want %d", what, got, n)
			}
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
}

// TestPoolUnderFire kills handlers at random while they are called: each call is answered
// or says that the handler was gone.
func TestPoolUnderFire(t *testing.T) {
	cmd := command(t, "Batches")
	in, out := memory(t, 4096), memory(t, 1<<20)
	var alive sync.Map
	calls := make(chan chan error)
	p := handler.NewPool(handler.PoolConfig{
		Handlers: 2, Log: cmd.Log,
		Start: func(ctx context.Context, _ int) (handler.Handler, error) {
			h, err := handler.Start(ctx, cmd)
			if err == nil {
				alive.Store(h.PID(), true)
			}
			return h, err
		},
		Work: func(ctx context.Context, h handler.Handler) {
			for {
				select {
				case <-ctx.Done():
					return
				case answer := <-calls:
					n := 0
					released := 0
					err := h.Infer(context.Background(), &handler.Request{
						Inputs: []handler.Tensor{tensor(in, "x", 11, 0, 64, 4, 4)}, Rows: 4,
						First:    handler.Place{File: out, Bytes: 4096},
						Released: func() { released++ },
					}, func(*handler.Response) error { n++; return nil })
					if released != 1 || (err == nil) != (n == 1) {
						err = fmt.Errorf("%d responses, released %d times, %w", n, released, err)
					}
					answer <- err
					if errors.Is(err, handler.ErrGone) {
						return
					}
				}
			}
		},
	})
	defer p.Close(context.Background())
	answered, gone := 0, 0
	begin, kill := time.Now(), time.Now()
	for (gone < 3 || time.Since(begin) < 3*time.Second) && time.Since(begin) < time.Minute {
		answer := make(chan error, 1)
		calls <- answer
		if time.Since(kill) > 300*time.Millisecond {
			kill = time.Now()
			alive.Range(func(pid, _ any) bool {
				alive.Delete(pid)
				_ = unix.Kill(pid.(int), unix.SIGKILL)
				return false
			})
		}
		switch err := <-answer; {
		case err == nil:
			answered++
		case errors.Is(err, handler.ErrGone):
			gone++
		default:
			t.Fatal(err)
		}
	}
	if answered == 0 || gone == 0 {
		t.Errorf("%d answered, %d gone", answered, gone)
	}
	for p.Status().Deaths < gone { // a call hears of it before the pool does
		if time.Since(begin) > 2*time.Minute {
			t.Fatalf("%d gone, %+v", gone, p.Status())
		}
		time.Sleep(time.Millisecond)
	}
	t.Logf("%d answered, %d gone, %+v", answered, gone, p.Status())
}

// TestNothingIsLeft counts descriptors, threads and processes over many lives.
func TestNothingIsLeft(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	cmd := command(t, "Told")
	out := memory(t, 4096)
	before := 0
	for i := range 6 {
		p, err := handler.Start(t.Context(), cmd)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			_, _ = infer(t, p, told(out, "kill"))
		}
		p.Close()
		if i == 0 {
			before = count()
		}
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
