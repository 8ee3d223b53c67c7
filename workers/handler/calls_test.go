// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/handler"
)

// told is a request for what class Told does.
func told(out *handler.File, do string, more ...any) *handler.Request {
	parameters := map[string]any{"do": do}
	for i := 0; i < len(more); i += 2 {
		parameters[more[i].(string)] = more[i+1]
	}
	return &handler.Request{Parameters: parameters, First: handler.Place{File: out, Bytes: out.Size}}
}

func floats(f *handler.File, values ...float32) {
	for i, v := range values {
		binary.LittleEndian.PutUint32(f.Data[4*i:], math.Float32bits(v))
	}
}

func TestBatch(t *testing.T) {
	p := start(t, command(t, "Batches"))
	s := p.Spec()
	if s.MaxBatch != 16 || len(s.Inputs) != 1 || s.Inputs[0].Name != "x" || s.Inputs[0].Datatype != call.FP32 || fmt.Sprint(s.Inputs[0].Shape) != "[4]" || len(s.Outputs) != 2 {
		t.Errorf("spec %+v", s)
	}
	in, out := memory(t, 4096), memory(t, 4096)
	floats(in, 1, 2, 3, 4, 5, 6, 7, 8)
	req := &handler.Request{
		Inputs: []handler.Tensor{tensor(in, "x", call.FP32, 0, 32, 2, 4)}, Rows: 2,
		First: handler.Place{File: out, Bytes: 4096},
	}
	got, err := infer(t, p, req)
	if err != nil {
		t.Fatal(err)
	}
	if r := got[0]; r.shapes["y"] != "[2 4] FP32" || r.shapes["rows"] != "[2] INT32" || math.Float32frombits(binary.LittleEndian.Uint32(r.bytes["y"][28:])) != 16 {
		t.Errorf("%v", r)
	}
	// One of the outputs alone, into a file of its own.
	elsewhere := memory(t, 8192)
	req.Outputs = []handler.Tensor{tensor(elsewhere, "y", 0, 4096, 64)}
	if got, err = infer(t, p, req); err != nil {
		t.Fatal(err)
	}
	if r := got[0]; len(r.shapes) != 1 || !bytes.Equal(elsewhere.Data[4096:4128], r.bytes["y"]) || elsewhere.Data[4096+31] == 0 {
		t.Errorf("%v", r)
	}
	req.Outputs[0].Bytes = 16
	_, err = infer(t, p, req)
	if said := callError(t, err); said.Code != 8 {
		t.Errorf("into too small a place: %v", err)
	}
	req.Outputs = []handler.Tensor{tensor(nil, "z", 0, 0, 0)}
	_, err = infer(t, p, req)
	if said := callError(t, err); said.Code != 13 || said.Message != `infer returned no 'z', which was asked for, but y, rows` {
		t.Errorf("what the model does not give: %v", err)
	}
	req.Outputs, req.Rows = nil, 3
	_, err = infer(t, p, req)
	if said := callError(t, err); said.Code != 13 || said.Message != `output 'y' of a batch of 3 rows has shape [2, 4]` {
		t.Errorf("as a batch of another size: %v", err)
	}
}

func callError(t *testing.T, err error) *handler.CallError {
	t.Helper()
	var said *handler.CallError
	if !errors.As(err, &said) {
		t.Fatalf("not of the call: %v", err)
	}
	return said
}

func TestWhatModelsReturn(t *testing.T) {
	p := start(t, command(t, "Told"))
	in, out := memory(t, 4096), memory(t, 4096)
	for _, c := range []struct {
		do      string
		code    uint32
		message string
	}{
		{"fail", 13, "ValueError: not what I like"},
		{"refuse", 3, "x has to be positive"},
		{"write", 13, "ValueError: assignment destination is read-only"},
		{"nothing", 13, "infer returned nothing, not a dict of arrays by name"},
		{"no_such_thing", 13, "AttributeError: 'Told' object has no attribute 'no_such_thing'"},
	} {
		req := told(out, c.do)
		req.Inputs = []handler.Tensor{tensor(in, "x", call.FP32, 0, 16, 4)}
		_, err := infer(t, p, req)
		if said := callError(t, err); said.Code != c.code || said.Message != c.message {
			t.Errorf("%s: %d %s", c.do, said.Code, said.Message)
		}
	}
	floats(in, 1, 2, 3, 4, 5, 6)
	req := told(out, "strided")
	req.Inputs = []handler.Tensor{tensor(in, "x", call.FP32, 0, 24, 2, 3)}
	got, err := infer(t, p, req)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]float32{
		"transposed": {1, 4, 2, 5, 3, 6}, "every_other": {1, 3, 4, 6}, "backwards": {4, 5, 6, 1, 2, 3}, "big": {1, 2, 3, 4, 5, 6},
	}
	for name, values := range want {
		var b []byte
		for _, v := range values {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		if !bytes.Equal(got[0].bytes[name], b) {
			t.Errorf("%s: %s %v", name, got[0].shapes[name], got[0].bytes[name])
		}
	}
	n := copy(in.Data, "\x03\x00\x00\x00abc\x00\x00\x00\x00\x02\x00\x00\x00xy\x01\x00\x00\x00z")
	req = told(out, "text")
	req.Inputs = []handler.Tensor{tensor(in, "t", call.BYTES, 0, int64(n), 2, 2)}
	if got, err = infer(t, p, req); err != nil || got[0].shapes["upper"] != "[2 2] BYTES" || !bytes.Equal(got[0].bytes["upper"], bytes.ToUpper(in.Data[:n])) {
		t.Errorf("text: %v, %v", got, err)
	}
}

func TestRoom(t *testing.T) {
	p := start(t, command(t, "Told"))
	small := memory(t, 4096)
	const n = 200 << 20
	req := told(small, "huge", "bytes", n)
	if _, err := infer(t, p, req); callError(t, err).Code != 8 {
		t.Errorf("without room: %v", err)
	}
	asked := int64(0)
	req.Room = func(bytes int64) (handler.Place, error) {
		asked = bytes
		f := memory(t, bytes+100)
		return handler.Place{File: f, Offset: 100, Bytes: bytes}, nil
	}
	got, err := infer(t, p, req)
	if err != nil || len(got[0].bytes["y"]) != n || got[0].bytes["y"][n-1] != 7 {
		t.Fatal(err)
	}
	if asked < n || asked > n+4096 {
		t.Errorf("asked for %d bytes", asked)
	}
	full := errors.New("no memory is left")
	req.Room = func(int64) (handler.Place, error) { return handler.Place{}, full }
	if _, err := infer(t, p, req); !errors.Is(err, full) {
		t.Errorf("room that cannot be had: %v", err)
	}
	if _, err := infer(t, p, told(small, "number")); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// TestConcurrent has calls that end only when four run at a time.
func TestConcurrent(t *testing.T) {
	for _, class := range []string{"Threads", "Asynchronous"} {
		t.Run(class, func(t *testing.T) {
			p := start(t, command(t, class))
			if c := p.Spec().Concurrency; c != 4 {
				t.Fatalf("%d at a time", c)
			}
			in := memory(t, 4096)
			floats(in, 1, 2, 3, 4, 5, 6, 7, 8)
			var rooms atomic.Int32
			var all sync.WaitGroup
			for i := range int64(8) {
				all.Go(func() {
					out := memory(t, 8<<20)
					req := &handler.Request{
						Inputs: []handler.Tensor{tensor(in, "x", call.FP32, 4*i, 4, 1)},
						Room: func(n int64) (handler.Place, error) {
							rooms.Add(1)
							return handler.Place{File: out, Bytes: n}, nil
						},
					}
					got, err := infer(t, p, req)
					if err != nil {
						t.Error(err)
						return
					}
					if want := bytes.Repeat(in.Data[4*i:4*i+4], 1<<20); !bytes.Equal(got[0].bytes["y"], want) {
						t.Errorf("call %d has another's answer", i)
					}
				})
			}
			all.Wait()
			if n := rooms.Load(); n != 8 {
				t.Errorf("asked for room %d times", n)
			}
		})
	}
}

func TestStreams(t *testing.T) {
	in := memory(t, 4096)
	in.Data[0] = 5
	for _, class := range []string{"Counting", "CountingAsync"} {
		p := start(t, command(t, class))
		if !p.Spec().Decoupled {
			t.Errorf("%s is not decoupled", class)
		}
		out := memory(t, 4096)
		rooms := 0
		got, err := infer(t, p, &handler.Request{
			Inputs: []handler.Tensor{tensor(in, "n", call.INT32, 0, 4)},
			Room: func(n int64) (handler.Place, error) {
				rooms++
				return handler.Place{File: out, Offset: int64(rooms) * 256, Bytes: n}, nil
			},
		})
		if err != nil || len(got) != 6 || rooms != 5 {
			t.Fatalf("%s: %d responses, asked for room %d times: %v", class, len(got), rooms, err)
		}
		for i, r := range got[:5] {
			if want := bytes.Repeat([]byte{byte(i), 0, 0, 0}, i+1); r.final || !bytes.Equal(r.bytes["i"], want) {
				t.Errorf("%s: response %d is %v", class, i, r)
			}
		}
		if last := got[5]; !last.final || len(last.shapes) != 0 {
			t.Errorf("%s: the last is %v", class, last)
		}
	}
	p := start(t, command(t, "Half"))
	got, err := infer(t, p, told(memory(t, 4096), ""))
	if len(got) != 1 || callError(t, err).Message != "ValueError: half way" {
		t.Errorf("a stream that fails: %d, %v", len(got), err)
	}
}

// TestStreamThatNobodyReads ends one whose reader fails, and one whose caller leaves.
func TestStreamThatNobodyReads(t *testing.T) {
	p := start(t, command(t, "Endless"))
	out := memory(t, 4096)
	req := told(out, "")
	req.Room = func(n int64) (handler.Place, error) { return handler.Place{File: out, Bytes: n}, nil }
	for _, wait := range []bool{true, false} {
		released := make(chan struct{})
		req.Released = nil
		if !wait {
			req.Released = func() { close(released) }
		}
		enough, n := errors.New("enough"), 0
		err := p.Infer(t.Context(), req, func(*handler.Response) error {
			if n++; n == 3 {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) || n != 3 {
			t.Fatalf("%d responses, %v", n, err)
		}
		if !wait {
			<-released
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	released := make(chan struct{})
	req.Released = func() { close(released) }
	err := p.Infer(ctx, req, func(*handler.Response) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	<-released
}

// TestCancel: the caller has his answer at once, and the memory is taken until the handler
// lets go of it.
func TestCancel(t *testing.T) {
	p := start(t, command(t, "Told"))
	out := memory(t, 4096)
	ctx, cancel := context.WithCancel(t.Context())
	var released atomic.Bool
	free := make(chan struct{})
	req := told(out, "sleep", "seconds", 1.5)
	req.Released = func() { released.Store(true); close(free) }
	time.AfterFunc(200*time.Millisecond, cancel)
	if err := p.Infer(ctx, req, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if released.Load() {
		t.Error("the memory is free, and the handler at work")
	}
	<-free
	if _, err := infer(t, p, told(out, "number")); err != nil {
		t.Error(err)
	}
	over, end := context.WithCancel(t.Context())
	end()
	calls := 0
	req.Released = func() { calls++ }
	if err := p.Infer(over, req, nil); !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("a call that was over before: %v, released %d times", err, calls)
	}
}

// TestCancelReaches: a handler that looks is told, and one on an event loop is stopped.
func TestCancelReaches(t *testing.T) {
	for _, class := range []string{"Patient", "Forever"} {
		p := start(t, command(t, class))
		out := memory(t, 4096)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		// Without Released: Infer waits for the handler's answer.
		if err := p.Infer(ctx, told(out, ""), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", class, err)
		}
	}
}

// TestCancelBeforeItBegins: a call that is cancelled before an event loop has begun it is
// answered, too; else its memory and its place would never be free.
func TestCancelBeforeItBegins(t *testing.T) {
	p := start(t, command(t, "Blocking"))
	out := memory(t, 4096)
	var first sync.WaitGroup
	first.Go(func() {
		if err := p.Infer(t.Context(), told(out, "", "seconds", 1), func(*handler.Response) error { return nil }); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(200 * time.Millisecond) // it has begun
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	free := make(chan struct{})
	req := told(out, "", "seconds", 0)
	req.Released = func() { close(free) }
	if err := p.Infer(ctx, req, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	select {
	case <-free:
	case <-time.After(time.Minute):
		t.Error("the handler never answers")
	}
	first.Wait()
}

// TestGone has handlers die in all ways that there are; the call says how.
func TestGone(t *testing.T) {
	out := memory(t, 4096)
	for _, c := range []struct {
		do   string
		more []any
		want string
	}{
		{"exit", nil, "ended with status 3"},
		{"kill", nil, "killed by signal 9 (killed)"},
		{"crash", nil, "killed by signal 11 (segmentation fault)"},
		{"stop", nil, "no answer for 1s"},
		{"sleep", []any{"seconds", 60}, "no answer for 1s"},
		{"leak", []any{"bytes", 300 << 20}, "of memory of its own, the limit is 200.0 MiB"},
		{"close", nil, "closed its socket and lived on"},
		{"garbage", []any{"hex", "00"}, "handler broke the protocol: a record of 1 bytes"},
		{"garbage", []any{"hex", strings.Repeat("ff", 100)}, "handler broke the protocol: a record of type 65535"},
		{"garbage", []any{"hex", "0600 0100 00000000 ffffffffffffffff"}, "handler broke the protocol: an answer to call 18446744073709551615, which it does not have"},
		{"garbage", []any{"hex", "0600 0100 01000000 0100000000000000" + strings.Repeat("00", 32)}, "handler broke the protocol: an output of datatype 0"},
		{"garbage", []any{"hex", "0100 0000 00000000 0000000000000000"}, "handler broke the protocol: a record of type 1 out of order"},
	} {
		cmd := command(t, "Told")
		cmd.Limit, cmd.Memory = 0, 0
		switch c.do {
		case "stop", "sleep":
			cmd.Limit = time.Second
		case "leak":
			cmd.Memory = 200 << 20
		}
		p := start(t, cmd)
		_, err := infer(t, p, told(out, c.do, c.more...))
		if !errors.Is(err, handler.ErrGone) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: %v", c.do, c.more, err)
		}
		if strings.Contains(err.Error(), "going down") { // what it printed may be another caller's
			t.Errorf("%s: a caller is told what the handler printed: %v", c.do, err)
		}
		if c.do == "garbage" && !errors.Is(err, handler.ErrProtocol) {
			t.Errorf("%s %v: %v", c.do, c.more, err)
		}
		<-p.Dead()
		if err := p.Err(); !errors.Is(err, handler.ErrGone) {
			t.Errorf("%s: %v", c.do, err)
		}
		if _, err := infer(t, p, told(out, "number")); !errors.Is(err, handler.ErrGone) {
			t.Errorf("a call after %s: %v", c.do, err)
		}
	}
}

func TestStartFails(t *testing.T) {
	slow := command(t, "Slow")
	slow.StartLimit = 500 * time.Millisecond
	elsewhere := command(t, "Echo")
	elsewhere.Env = append(elsewhere.Env, "PYTHONPATH="+t.TempDir())
	module := command(t, "Echo")
	module.Args = append(module.Args, "--handler", "my_pkg.asr:Whisper")
	raises := command(t, "Echo")
	raises.Args = []string{raises.Args[0], "-c", "raise OSError('no room here')"}
	ends := command(t, "Echo")
	ends.Args = []string{ends.Args[0], "-c", "print('hello')"}
	none := handler.Command{Args: []string{"/there/is/no/such/program"}}
	python := slow.Args[0]
	for _, c := range []struct {
		cmd  handler.Command
		want string
	}{
		{slow, "not ready within 500ms"},
		{command(t, "Needs"), "needs the package a_package_that_nobody_has: " + python + " -m pip install a_package_that_nobody_has"},
		{command(t, "Refuses"), "cannot load test: RuntimeError: test is not for me"},
		{command(t, "Nobody"), "has no Nobody"},
		{elsewhere, python + " needs the package modelfs: " + python + " -m pip install modelfs"},
		{module, "there is no module my_pkg for the handler my_pkg.asr:Whisper in "},
		{ends, "ended with status 0"},
		{raises, "ended with status 1: OSError: no room here"},
		{none, "no such file or directory"},
	} {
		if p, err := handler.Start(t.Context(), c.cmd); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.want, err)
			if err == nil {
				p.Close()
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	if _, err := handler.Start(ctx, slow); !errors.Is(err, context.Canceled) && !errors.Is(err, handler.ErrGone) {
		t.Errorf("%v", err)
	}
}

func TestClose(t *testing.T) {
	out := memory(t, 4096)
	p := start(t, command(t, "Told"))
	answered := make(chan error, 1)
	req := told(out, "sleep", "seconds", 1)
	go func() { answered <- p.Infer(context.Background(), req, func(*handler.Response) error { return nil }) }()
	time.Sleep(300 * time.Millisecond) // so that it most probably runs; else it is not begun
	p.Close()
	if err := <-answered; err != nil && !errors.Is(err, handler.ErrGone) {
		t.Errorf("the call that ran: %v", err)
	}
	cmd := command(t, "Stubborn")
	cmd.Grace = 200 * time.Millisecond
	stubborn := start(t, cmd)
	go func() { answered <- stubborn.Infer(context.Background(), told(out, ""), nil) }()
	time.Sleep(300 * time.Millisecond)
	stubborn.Close()
	if err := <-answered; !errors.Is(err, handler.ErrGone) {
		t.Errorf("the call of one that does not end: %v", err)
	}
}

// TestFiles: clients' files are known while they are used, and not for longer.
func TestFiles(t *testing.T) {
	p := start(t, command(t, "Told"))
	out := memory(t, 4096)
	mapped := func(name string) bool {
		t.Helper()
		got, err := infer(t, p, told(out, "memory", "name", name))
		if err != nil {
			t.Fatal(err)
		}
		return got[0].bytes["mapped"][0] == 1
	}
	use := func(f *handler.File) {
		t.Helper()
		req := told(out, "number")
		req.Inputs = []handler.Tensor{tensor(f, "x", call.UINT8, 0, 1, 1)}
		if _, err := infer(t, p, req); err != nil {
			t.Fatal(err)
		}
	}
	client := func(name string) *handler.File {
		t.Helper()
		fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), name)
		t.Cleanup(func() { f.Close() })
		if err := f.Truncate(100); err != nil {
			t.Fatal(err)
		}
		return &handler.File{Key: handler.NextKey(), FD: f, Size: 100}
	}
	ours := client("modelfs-ours")
	ours.Data = make([]byte, 100) // so that it counts as mapped here
	use(ours)
	first := client("modelfs-first")
	use(first)
	if !mapped("modelfs-first") || !mapped("modelfs-ours") || mapped("modelfs-other") {
		t.Fatal("what is used is not mapped")
	}
	for i := range 64 {
		use(client(fmt.Sprint("modelfs-number-", i)))
	}
	if mapped("modelfs-first") || !mapped("modelfs-number-63 ") || !mapped("modelfs-ours") {
		t.Error("not the one goes that was not used for longest")
	}
	p.Forget(ours.Key)
	if mapped("modelfs-ours") {
		t.Error("what is forgotten is mapped")
	}
	use(first)
	if !mapped("modelfs-first") {
		t.Error("what was forgotten cannot be used again")
	}
	many := told(out, "number")
	for i := range 100 {
		many.Inputs = append(many.Inputs, tensor(client("modelfs-many"), fmt.Sprint(i), call.UINT8, 0, 100, 100))
	}
	if _, err := infer(t, p, many); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); mapped("modelfs-many"); time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatal("idle files stay mapped")
		}
	}
	closed := client("modelfs-closed")
	closed.FD.Close()
	req := told(out, "number")
	req.Inputs = []handler.Tensor{tensor(closed, "x", call.UINT8, 0, 1, 1)}
	if _, err := infer(t, p, req); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a file that is closed: %v", err)
	}
	use(first)
}

// TestTooMuch: what no record can hold fails, and nothing else.
func TestTooMuch(t *testing.T) {
	p := start(t, command(t, "Echo"))
	f := memory(t, 4096)
	for _, req := range []*handler.Request{
		{Inputs: []handler.Tensor{tensor(f, strings.Repeat("x", 1001), call.UINT8, 0, 1, 1)}},
		{Inputs: []handler.Tensor{tensor(f, "x", call.UINT8, 0, 1, make([]int64, 17)...)}},
		{Inputs: make([]handler.Tensor, 3000)},
		{Parameters: map[string]any{"x": strings.Repeat("x", 65536)}},
	} {
		if _, err := infer(t, p, req); callError(t, err).Code != 3 {
			t.Errorf("%v", err)
		}
	}
	if _, err := infer(t, p, &handler.Request{}); err != nil {
		t.Error(err)
	}
}
