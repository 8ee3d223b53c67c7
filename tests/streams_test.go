// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tensors"
	"github.com/modelfs/modelfs/tensors/stream"
)

// Frames of the tests: each word is the frame's number, so that a frame is torn
// exactly if it has another one.
const (
	frameWords = 32 << 10
	frameSlots = 2
	ringSize   = 4096 + frameSlots*8*frameWords
)

type ProduceArgs struct {
	Path  string
	For   time.Duration
	Every time.Duration // 0: as fast as it can
}

// Produce publishes frames and closes the stream; frame is the last one's number.
func (*reading) Produce(a ProduceArgs, frame *uint64) error {
	w, err := stream.Create(a.Path, tensors.U64, []int64{frameWords}, frameSlots)
	if err != nil {
		return coded(err)
	}
	for end := time.Now().Add(a.For); time.Now().Before(end); time.Sleep(a.Every) {
		b, err := w.Next()
		if err != nil {
			return err
		}
		*frame = w.Head() + 1
		for ; len(b) > 0; b = b[8:] {
			binary.LittleEndian.PutUint64(b, *frame)
		}
		if err := w.Commit(); err != nil {
			return err
		}
	}
	return w.Close()
}

// Frames is what a reader of a stream has seen.
type Frames struct {
	Whole, Overrun int
	Torn           int // found valid, and was not
	Seen           int // torn, valid or not: the control
	Last, Missed   uint64
	Generation     uint64
	Wait           time.Duration // median time from a frame's Commit to its reader
}

// Consume looks at every word of every frame until the stream is closed.
func (*reading) Consume(path string, got *Frames) error {
	r, err := stream.Open(path)
	if err != nil {
		return coded(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var waits []time.Duration
	for {
		f, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			slices.Sort(waits)
			if len(waits) > 0 {
				got.Wait = waits[len(waits)/2]
			}
			got.Missed, got.Generation = r.Missed(), r.Generation()
			return nil
		}
		if err != nil {
			return err
		}
		waits = append(waits, f.Age())
		bad := false
		for b := f.Bytes(); len(b) > 0; b = b[8:] {
			bad = bad || binary.LittleEndian.Uint64(b) != f.Number()
		}
		valid := f.Valid()
		switch {
		case valid && bad:
			got.Torn++
		case valid:
			got.Whole++
		default:
			got.Overrun++
		}
		if bad {
			got.Seen++
		}
		got.Last = f.Number()
	}
}

// following is a call of a reader's that goes on.
type following struct {
	got  Frames
	call *rpc.Call
}

func (r *reader) follow(path string) *following {
	f := &following{}
	f.call = r.rpc.Go("Reader.Consume", path, &f.got, nil)
	return f
}

func (r *reader) produce(a ProduceArgs) *rpc.Call {
	return r.rpc.Go("Reader.Produce", a, new(uint64), nil)
}

// end waits for the stream's end and looks at what was seen of it.
func (f *following) end(t *testing.T) Frames {
	t.Helper()
	if err := (<-f.call.Done).Error; err != nil {
		t.Error(err)
	}
	if f.got.Torn > 0 || f.got.Whole == 0 {
		t.Errorf("%+v", f.got)
	}
	return f.got
}

// TestStreams: a producer that overwrites as fast as it can is killed, and the next
// one goes on in the same file; so it needs no more room than the quota has for one.
// Readers take no torn frame for whole; one that is killed disturbs nobody.
// The control: torn frames are seen where nobody asks.
func TestStreams(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start("--session-quota", fmt.Sprint(ringSize))
		d.shell("mkdir " + d.at("sessions/camera"))
		path := d.at("sessions/camera/frames")
		first := startReader(t, m.uid)
		first.produce(ProduceArgs{Path: path, For: time.Minute})
		eventually(t, patience, "there is a stream", func() bool {
			st, err := d.stat(path)
			return err == nil && st.Size == ringSize
		})
		readers := []*following{startReader(t, m.uid).follow(path), startReader(t, m.uid).follow(path)}
		victim := startReader(t, m.uid)
		victim.follow(path)
		second := startReader(t, m.uid)
		if err := (<-second.produce(ProduceArgs{Path: path}).Done).Error; err == nil || !strings.Contains(err.Error(), stream.ErrBusy.Error()) {
			t.Errorf("a second producer: %v", err)
		}
		time.Sleep(300 * time.Millisecond)
		victim.kill()
		first.kill()
		if err := (<-second.produce(ProduceArgs{Path: path, For: 500 * time.Millisecond}).Done).Error; err != nil {
			t.Errorf("the next producer: %v", err)
		}
		seen := 0
		for _, r := range readers {
			got := r.end(t)
			t.Logf("%+v", got)
			if got.Generation != 2 {
				t.Errorf("%d producers in this file", got.Generation)
			}
			seen += got.Seen
		}
		if seen == 0 {
			t.Error("nothing was ever torn: this test shows nothing")
		}
		over := ProduceArgs{Path: d.at("sessions/camera/more")}
		if err := (<-second.produce(over).Done).Error; err == nil || !strings.Contains(err.Error(), unix.ENOSPC.Error()) {
			t.Errorf("a stream over the quota: %v", err)
		}
		if names, err := d.list(d.at("sessions/camera")); err != nil || len(names) != 1 {
			t.Errorf("left behind: %v, %v", names, err)
		}
	})
}

// TestStreamWakes: a reader that sleeps is woken by the futex in the file, through
// whatever the mapping goes; also one that may only read.
func TestStreamWakes(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start("--allow-other")
		d.shell("mkdir -m 755 " + d.at("sessions/s"))
		path := d.at("sessions/s/frames")
		done := startReader(t, m.uid).produce(ProduceArgs{Path: path, For: 500 * time.Millisecond, Every: 5 * time.Millisecond})
		other := startReader(t, nobody)
		eventually(t, patience, "there is a stream", func() bool {
			_, err := d.stat(path)
			return err == nil
		})
		got := other.follow(path).end(t)
		t.Logf("%+v", got)
		// Without being woken it looks every 100 ms.
		if got.Wait > 20*time.Millisecond {
			t.Errorf("frames reach their reader after %v", got.Wait)
		}
		if err := (<-done.Done).Error; err != nil {
			t.Error(err)
		}
		if err := (<-other.produce(ProduceArgs{Path: path}).Done).Error; err == nil || !strings.Contains(err.Error(), unix.EACCES.Error()) {
			t.Errorf("a producer without permission to write: %v", err)
		}
	}, normal, noPassthrough)
}

// streamPython does in Python what Produce and Consume do.
const streamPython = `
import sys, time
import numpy as np
from modelfs.stream import Overrun, Stream
task, path, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
if task == "produce":
    with Stream.create(path, (%d,), "U64", %d) as w:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with w.slot() as slot:
                slot[:] = w.head + 1
    sys.exit()
whole = overrun = torn = 0
r = Stream.open(path)
print("ready", flush=True)
for frame in r:
    try:
        with frame as array:
            bad = (array != frame.number).any()
        whole += 1
        torn += bool(bad)
    except Overrun:
        overrun += 1
print(f"{torn} torn, generation {r.generation}, {'some' if whole else 'none'} whole")
`

// needPython is a Python that has numpy and the package.
func needPython(t *testing.T) (command func(args ...string) *exec.Cmd) {
	t.Helper()
	python := must(filepath.Abs("../.venv/bin/python"))(t)
	if _, err := os.Stat(python); err != nil {
		python = "python3"
	}
	command = func(args ...string) *exec.Cmd {
		cmd := exec.Command(python, args...)
		cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH="+must(filepath.Abs("../python"))(t))
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
		return cmd
	}
	probe := command("-c", "import modelfs.stream")
	probe.Stderr = nil
	if out, err := probe.CombinedOutput(); err != nil {
		lacking(t, "python", fmt.Sprintf("%v: %s", err, out))
	}
	return command
}

// TestStreamLanguages: what one language publishes another one reads, and goes on
// with.
func TestStreamLanguages(t *testing.T) {
	python := needPython(t)
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start()
		d.shell("mkdir " + d.at("sessions/s"))
		path := d.at("sessions/s/frames")
		program := fmt.Sprintf(streamPython, frameWords, frameSlots)
		golang := startReader(t, m.uid)
		golang.produce(ProduceArgs{Path: path, For: time.Minute})
		eventually(t, patience, "there is a stream", func() bool {
			_, err := d.stat(path)
			return err == nil
		})
		snake := python("-c", program, "consume", path, "0")
		out := must(snake.StdoutPipe())(t)
		if err := snake.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { snake.Process.Kill() })
		ready := make([]byte, len("ready\n"))
		if _, err := io.ReadFull(out, ready); err != nil {
			t.Fatal(err)
		}
		mine := startReader(t, m.uid).follow(path)
		time.Sleep(300 * time.Millisecond)
		golang.kill()
		if err := python("-c", program, "produce", path, "0.7").Run(); err != nil {
			t.Fatalf("the next producer, in Python: %v", err)
		}
		got := mine.end(t)
		t.Logf("Go: %+v", got)
		if got.Generation != 2 {
			t.Errorf("%d producers in this file", got.Generation)
		}
		text := must(io.ReadAll(out))(t)
		if err := snake.Wait(); err != nil || string(text) != "0 torn, generation 2, some whole\n" {
			t.Errorf("Python's reader: %s, %v", text, err)
		}
	}, normal, noPassthrough)
}
