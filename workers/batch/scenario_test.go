// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

// scenarios are told line by line; what happens after each is in testdata.
//
//	push NAME [caller] [kind] [rows=N] [priority=N] [timeout=D] [deadline=D]
//	worker NAME [max]    waits for one batch
//	cancel NAME          of a call, or of a worker that waits
//	sleep D | drain | close | depth
var scenarios = []struct {
	name   string
	cfg    Config
	script string
}{
	{"one-by-one", Config{}, `
		push a1 a x rows=50
		push a2 a x
		worker w1
		worker w2
		worker w3
		push a3 a x`},
	{"piled-up", Config{MaxBatch: 4, MaxDelay: time.Second}, `
		push a1 a x
		push a2 a x
		push a3 a x
		push a4 a x
		push a5 a x
		push a6 a x
		worker w1
		worker w2
		depth`},
	{"company", Config{MaxBatch: 4, MaxDelay: 2 * time.Millisecond}, `
		worker w1
		push a1 a x
		sleep 1ms
		push b1 b x
		sleep 1ms
		worker w2
		push a2 a x
		push a3 a x
		push b2 b x rows=2
		sleep 10ms`},
	{"preferred", Config{MaxBatch: 8, MaxDelay: time.Second, Preferred: []int{3}}, `
		worker w1
		push a1 a x
		push a2 a x
		sleep 1ms
		push a3 a x
		push a4 a x rows=4
		worker w2
		sleep 1s`},
	{"kinds-apart", Config{MaxBatch: 8, MaxDelay: time.Millisecond}, `
		worker w1
		push a1 a x
		push a2 a y
		push a3 a x
		push a4 a -
		worker w2
		worker w3
		sleep 1ms
		push b1 b -`},
	{"patience", Config{Levels: 2}, "push low1 a - priority=2\npush low2 a - priority=2\n" + strings.Repeat("push high b - priority=1\n", 12) + strings.Repeat("worker w\n", 14)},
	{"turns", Config{MaxBatch: 3}, `
		push a1 a x
		push a2 a x
		push a3 a x
		push a4 a x
		push b1 b x
		push b2 b y
		push c1 c x
		worker w1
		worker w2
		worker w3`},
	{"does-not-fit", Config{MaxBatch: 4}, `
		push a1 a x rows=2
		push a2 a x rows=3
		push a3 a x rows=1
		push b1 b x rows=1
		push c1 c x rows=5
		worker w1
		worker w2`},
	{"priorities", Config{MaxBatch: 2, Levels: 3, Default: 2}, `
		push low1 a x priority=9
		push mid1 a x
		push mid2 b y
		push high1 a x priority=1
		push high2 a y priority=1
		worker w1
		worker w2
		worker w3`},
	{"timeouts", Config{MaxBatch: 2, Timeout: 5 * time.Millisecond}, `
		push a1 a x
		push a2 a x timeout=1ms
		push a3 a x timeout=1h
		sleep 1ms
		sleep 4ms
		worker w1`},
	{"cancelled", Config{MaxBatch: 2}, `
		push a1 a x
		push a2 a x deadline=3ms
		push a3 a x
		push b1 b y
		cancel a1
		sleep 3ms
		worker w1
		cancel a3
		worker w2
		worker w3
		cancel w3
		push a4 a x deadline=0s
		depth`},
	{"full", Config{MaxQueue: 2}, `
		push a1 a x timeout=1ms
		push a2 a x
		push a3 a x
		worker w1
		push a4 a x
		sleep 1ms
		push a5 a x`},
	{"drain", Config{MaxBatch: 2, MaxDelay: time.Hour}, `
		worker w1
		push a1 a x
		push b1 b y
		drain
		push a2 a x
		worker w2
		worker w3`},
	{"close", Config{MaxBatch: 8}, `
		push a1 a x
		push b1 b y priority=7
		drain
		close
		worker w1
		push a2 a x
		close`},
	{"worker-leaves", Config{MaxBatch: 8, MaxDelay: time.Hour}, `
		worker w1
		push a1 a x
		cancel w1
		worker w2`},
	{"smaller-worker", Config{MaxBatch: 8}, `
		push a1 a x
		push a2 a x
		push a3 a x
		push a4 a x rows=4
		worker w1 2
		worker w2 2
		worker w3 2`},
}

func TestScenarios(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &play{t: t, q: New[string](s.cfg), start: time.Now(), cancels: map[string]context.CancelFunc{}}
				fmt.Fprintf(&p.out, "%+v\n", s.cfg)
				for line := range strings.Lines(s.script) {
					if line = strings.TrimSpace(line); line != "" {
						fmt.Fprintf(&p.out, "%v\t%s\n", time.Since(p.start), line)
						p.do(strings.Fields(line))
						synctest.Wait()
						p.settle()
					}
				}
				p.q.Close()
				for _, cancel := range p.cancels {
					cancel()
				}
				synctest.Wait()
				p.settle()
				golden(t, s.name, p.out.String())
			})
		})
	}
}

// play is one scenario that runs.
type play struct {
	t       *testing.T
	q       *Queue[string]
	start   time.Time
	cancels map[string]context.CancelFunc

	out strings.Builder

	mu     sync.Mutex
	events []event // since the last settle
}

// event is what happened after a line.
type event struct {
	at   time.Duration
	text string
}

func (p *play) log(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, event{time.Since(p.start), fmt.Sprintf(format, args...)})
}

// settle writes what happened in an order that does not hang on which goroutine was first.
func (p *play) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortFunc(p.events, func(a, b event) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.text, b.text)) })
	for _, e := range p.events {
		fmt.Fprintf(&p.out, "%v\t  %s\n", e.at, e.text)
	}
	p.events = nil
}

func (p *play) do(words []string) {
	switch words[0] {
	case "push":
		p.push(words[1], words[2:])
	case "worker":
		ctx, cancel := context.WithCancel(p.t.Context())
		p.cancels[words[1]] = cancel
		most := 0
		if len(words) > 2 {
			most, _ = strconv.Atoi(words[2])
		}
		go func() {
			b, err := p.q.Next(ctx, most)
			if err != nil {
				p.log("%s: %v", words[1], err)
				return
			}
			text := ""
			for _, taken := range b.Items {
				text += fmt.Sprintf(" %s (%v)", taken.Call, taken.Waited)
			}
			p.log("%s: rows %d:%s", words[1], b.Rows, text)
		}()
	case "cancel":
		p.cancels[words[1]]()
	case "sleep":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			p.t.Fatal(err)
		}
		time.Sleep(d)
	case "drain":
		go func() { p.log("drained: %v", p.q.Drain(p.t.Context())) }()
	case "close":
		p.q.Close()
	case "depth":
		p.log("%d", p.q.Depth())
	default:
		p.t.Fatalf("no such word: %s", words[0])
	}
}

func (p *play) push(name string, words []string) {
	ctx, cancel := context.WithCancel(p.t.Context())
	call := Item[string]{Call: name, Caller: words[0], Kind: strings.Trim(words[1], "-"), Rows: 1}
	call.Dropped = func(err error) { p.log("%s dropped: %v", name, err) }
	for _, word := range words[2:] {
		key, value, _ := strings.Cut(word, "=")
		number, _ := strconv.Atoi(value)
		duration, _ := time.ParseDuration(value)
		switch key {
		case "rows":
			call.Rows = number
		case "priority":
			call.Priority = uint64(number)
		case "timeout":
			call.Timeout = duration
		case "deadline":
			cancel()
			ctx, cancel = context.WithTimeout(p.t.Context(), duration)
		}
	}
	call.Context, p.cancels[name] = ctx, cancel
	if err := p.q.Push(call); err != nil {
		p.log("%s: %v", name, err)
	}
}

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it); got:\n%s\nwant:\n%s", path, got, want)
	}
}
