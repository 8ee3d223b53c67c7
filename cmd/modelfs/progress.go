// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sys/unix"
)

// progress shows how long work gets on: a bar on a terminal, plain lines elsewhere,
// on stderr.
type progress struct {
	verb    string // loading
	name    string
	total   int64
	arrived func() int64 // bytes that are done
	out     io.Writer
	began   time.Time
}

// loading is the progress of a load. It asks the daemon, through the model's
// attributes.
func (p *program) loading(t target, total int64) *progress {
	before := p.number(t.folder(), residentAttribute)
	return &progress{
		verb: "loading", name: printable(t.String()), total: total, out: p.stderr, began: time.Now(),
		arrived: func() int64 {
			n := p.number(t.folder(), residentAttribute) + p.number(t.folder(), loadingAttribute)
			if n >= before && total < n {
				n -= before // of another checkpoint
			}
			return min(n, total)
		},
	}
}

func (pr *progress) took() string {
	return time.Since(pr.began).Round(time.Millisecond).String()
}

// during runs the work in the background and shows how far it is.
func (pr *progress) during(work func() error) error {
	done := make(chan error, 1)
	go func() { done <- work() }()
	select { // what is quick needs no bar
	case err := <-done:
		return err
	case <-time.After(150 * time.Millisecond):
	}
	if isTerminal(pr.out) {
		return pr.bar(done)
	}
	return pr.lines(done)
}

func (pr *progress) bar(done <-chan error) error {
	container := mpb.New(mpb.WithOutput(pr.out), mpb.WithAutoRefresh(), mpb.WithRefreshRate(100*time.Millisecond), mpb.WithWidth(60))
	bar := container.New(max(pr.total, 1), mpb.BarStyle(),
		mpb.PrependDecorators(decor.Name(shorten(pr.name, 40)+" ")),
		mpb.AppendDecorators(decor.CountersKibiByte("% .0f/% .0f "), decor.AverageSpeed(decor.SizeB1024(0), "% .0f ", decor.WCSyncSpace)),
		mpb.BarRemoveOnComplete())
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err == nil {
				bar.SetTotal(-1, true)
			} else {
				bar.Abort(true)
			}
			container.Wait()
			return err
		case <-tick.C:
			bar.SetCurrent(min(pr.arrived(), max(pr.total-1, 0))) // whole only when the work says so
		}
	}
}

func (pr *progress) lines(done <-chan error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			n := pr.arrived()
			percent := int64(0)
			if pr.total > 0 {
				percent = int64(float64(n) / float64(pr.total) * 100)
			}
			fmt.Fprintf(pr.out, "%s %s: %s of %s (%d%%)\n", pr.verb, pr.name, humanSize(n), humanSize(pr.total), percent)
		}
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil && os.Getenv("TERM") != "dumb"
}
