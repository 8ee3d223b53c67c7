// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/handler"
)

// python finds a Python that has numpy: the one that make setup made, one that the
// environment names, or the machine's.
func python(t testing.TB) string {
	t.Helper()
	why := "no Python"
	for _, name := range []string{"../../.venv/bin/python", os.Getenv("MODELFS_TEST_PYTHON"), "python3"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if err := exec.Command(path, "-c", "import numpy").Run(); err == nil {
			if path, err = filepath.Abs(path); err != nil {
				t.Fatal(err)
			}
			return path
		}
		why = path + " has no numpy"
	}
	if strings.Contains(os.Getenv("MODELFS_REQUIRE"), "python") {
		t.Fatalf("MODELFS_REQUIRE has python: %s", why)
	}
	t.Skip(why)
	return ""
}

// command runs a class of testdata/handlers.py.
func command(t testing.TB, class string) handler.Command {
	t.Helper()
	packages, err := filepath.Abs("../../python")
	if err != nil {
		t.Fatal(err)
	}
	handlers, err := filepath.Abs("testdata/handlers.py")
	if err != nil {
		t.Fatal(err)
	}
	return handler.Command{
		Args: []string{python(t), "-m", "modelfs.worker", "--model", "test", "--handler", handlers + ":" + class},
		Env:  append(os.Environ(), "PYTHONPATH="+packages, "PYTHONDONTWRITEBYTECODE=1", "MODELFS_MOUNT="),
		Log:  slog.New(slog.NewTextHandler(logTo(t), nil)),
	}
}

// logTo writes to the test's log, as long as there is one.
func logTo(t testing.TB) *testLog {
	l := &testLog{t: t}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.t = nil
	})
	return l
}

type testLog struct {
	mu   sync.Mutex
	t    testing.TB
	text bytes.Buffer
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	if l.t != nil {
		l.t.Logf("%s", bytes.TrimSpace(b))
	}
	return len(b), nil
}

func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start starts a class, and checks at the end that it has gone.
func start(t testing.TB, command handler.Command) *handler.Process {
	t.Helper()
	p, err := handler.Start(t.Context(), command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		if err := unix.Kill(p.PID(), 0); err != unix.ESRCH {
			t.Errorf("the handler is left: %v", err)
		}
	})
	return p
}

// memory is a file that server and handler map.
func memory(t testing.TB, size int64) *handler.File {
	t.Helper()
	fd, err := unix.MemfdCreate("modelfs-test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memory")
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	data, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		if err := unix.Munmap(data); err != nil {
			t.Error(err)
		}
	})
	return &handler.File{Key: handler.NextKey(), FD: f, Size: size, Writable: true, Data: data}
}

// tensor is one with n bytes of a file.
func tensor(f *handler.File, name string, d call.Datatype, offset, n int64, shape ...int64) handler.Tensor {
	return handler.Tensor{
		Tensor: call.Tensor{Name: name, Datatype: d, Shape: shape},
		Place:  handler.Place{File: f, Offset: offset, Bytes: n},
	}
}

// infer runs a call and gives back copies of its responses, with the outputs' bytes.
type response struct {
	shapes map[string]string // name -> "[1 2] FP32"
	bytes  map[string][]byte
	final  bool
}

func infer(t testing.TB, h handler.Handler, req *handler.Request) ([]response, error) {
	t.Helper()
	var got []response
	released := 0
	if req.Released == nil {
		req.Released = func() { released++ }
		defer func() {
			req.Released = nil
			if released != 1 {
				t.Errorf("the memory was released %d times", released)
			}
		}()
	}
	err := h.Infer(t.Context(), req, func(r *handler.Response) error {
		one := response{map[string]string{}, map[string][]byte{}, r.Final}
		for _, o := range r.Outputs {
			one.shapes[o.Name] = fmt.Sprint(o.Shape, " ", o.Datatype)
			one.bytes[o.Name] = bytes.Clone(o.Data())
		}
		got = append(got, one)
		return nil
	})
	return got, err
}

func TestEcho(t *testing.T) {
	p := start(t, command(t, "Echo"))
	if s := p.Spec(); s.Platform != "python" || s.Concurrency != 1 || s.MaxBatch != 0 || s.Decoupled || len(s.Inputs) != 0 {
		t.Errorf("spec %+v", s)
	}
	in, out := memory(t, 1<<20), memory(t, 1<<20)
	for i := range in.Data {
		in.Data[i] = byte(i * 7)
	}
	for d, n := range map[call.Datatype]int64{
		call.BOOL: 1, call.UINT8: 1, call.UINT16: 2, call.UINT32: 4, call.UINT64: 8, call.INT8: 1, call.INT16: 2, call.INT32: 4,
		call.INT64: 8, call.FP16: 2, call.FP32: 4, call.FP64: 8, call.BF16: 2,
	} {
		req := &handler.Request{
			Inputs: []handler.Tensor{
				tensor(in, "a", d, 4096, 6*n, 2, 3), tensor(in, "scalar", d, 64, n), tensor(in, "none", d, 0, 0, 3, 0),
			},
			First: handler.Place{File: out, Offset: 128, Bytes: 4096},
		}
		if d == call.BOOL {
			for i := range in.Data {
				in.Data[i] &= 1
			}
		}
		got, err := infer(t, p, req)
		if err != nil || len(got) != 1 || !got[0].final {
			t.Fatalf("%v: %v, %v", d, got, err)
		}
		r := got[0]
		if r.shapes["a"] != fmt.Sprint("[2 3] ", d) || r.shapes["scalar"] != fmt.Sprint("[] ", d) || r.shapes["none"] != fmt.Sprint("[3 0] ", d) {
			t.Errorf("%v: %v", d, r.shapes)
		}
		if !bytes.Equal(r.bytes["a"], in.Data[4096:4096+6*n]) || !bytes.Equal(r.bytes["scalar"], in.Data[64:64+n]) {
			t.Errorf("%v: other bytes", d)
		}
	}
}

func BenchmarkEcho(b *testing.B) {
	p := start(b, command(b, "Echo"))
	in, out := memory(b, 1<<20), memory(b, 1<<20)
	req := &handler.Request{
		Inputs: []handler.Tensor{tensor(in, "x", call.FP32, 0, 1024, 256)},
		First:  handler.Place{File: out, Bytes: 1 << 16},
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Infer(b.Context(), req, func(*handler.Response) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
