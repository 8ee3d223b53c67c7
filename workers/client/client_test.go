// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/modelfs/modelfs/internal/announce"
	"github.com/modelfs/modelfs/workers"
	"github.com/modelfs/modelfs/workers/arena"
	"github.com/modelfs/modelfs/workers/caller"
	"github.com/modelfs/modelfs/workers/client"
	"github.com/modelfs/modelfs/workers/handler"
)

const patience = time.Minute

// echo gives back what it gets, and "twice" any number of it.
func echo(name string, decoupled bool) workers.ModelConfig {
	spec := handler.Spec{Concurrency: 4}
	return workers.ModelConfig{Name: name, Start: func(context.Context, int) (handler.Handler, error) {
		if decoupled {
			return nil, errors.New("it cannot be loaded")
		}
		return handler.Func(spec, func(_ context.Context, in []handler.Array, _ map[string]any) ([]handler.Array, error) {
			return in, nil
		}), nil
	}}
}

// serve starts a server that end ends at once.
func serve(t *testing.T, socket string, models ...workers.ModelConfig) (end func()) {
	t.Helper()
	s := workers.New(workers.Config{
		Version: "test", Models: models, Arena: arena.New(arena.Memfds(), 1<<20),
		Credentials: caller.Credentials(caller.Options{}),
		Callers:     func(ctx context.Context) (caller.Caller, error) { return caller.FromContext(ctx, nil) },
	})
	l, err := caller.Listen("unix:"+socket, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) })
	end = sync.OnceFunc(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what runs is cut off
		s.Drain(ctx)
		serving.Wait()
	})
	t.Cleanup(end)
	return end
}

func dial(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

func tensor(name string, size int) client.Tensor {
	return client.Tensor{Name: name, Datatype: "UINT8", Shape: []int64{int64(size)}, Data: bytes.Repeat([]byte("0123456789"), size/10+1)[:size]}
}

func TestInfer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, socket, echo("echo", false))
	c := dial(t, client.Options{Address: "unix:" + socket, Model: "echo"})
	for _, size := range []int{0, 1, 1000, 20_000, 3 << 20} {
		in := []client.Tensor{tensor("a", size), tensor("b", 7)}
		r, err := c.Infer(t.Context(), &client.Request{ID: "x", Inputs: in})
		if err != nil {
			t.Fatal(err)
		}
		if r.ID != "x" || r.Model != "echo" || len(r.Outputs) != 2 {
			t.Fatalf("got %+v", r)
		}
		for _, want := range in {
			got := r.Output(want.Name)
			if got == nil || got.Datatype != want.Datatype || !reflect.DeepEqual(got.Shape, want.Shape) || !bytes.Equal(got.Bytes(), want.Data) {
				t.Errorf("%d bytes: output %s is not the input", size, want.Name)
			}
		}
		r.Free()
		r.Free()
	}
	if _, err := c.Infer(t.Context(), &client.Request{Parameters: map[string]any{"p": []int{}}}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a parameter that is a list: %v", err)
	}
}

// TestVerdict: a call of a model that nobody has, or that does not work, is an error at
// once, with the reason, though no context ends it.
func TestVerdict(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, socket, echo("echo", false), echo("broken", true))
	for name, want := range map[string]codes.Code{"nobody": codes.NotFound, "broken": codes.Unavailable} {
		c, err := client.Dial(t.Context(), client.Options{Address: "unix:" + socket, Model: name})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Infer(context.Background(), &client.Request{Inputs: []client.Tensor{tensor("a", 1)}})
		if status.Code(err) != want || want == codes.Unavailable && !strings.Contains(err.Error(), "cannot be loaded") {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.WaitReady(context.Background()); status.Code(err) != want {
			t.Errorf("wait for %s: %v", name, err)
		}
		if c.Ready(t.Context()) || !c.Live(t.Context()) {
			t.Errorf("%s is ready, or the server does not live", name)
		}
		_ = c.Close()
	}
}

func TestStream(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, socket, echo("echo", false))
	c := dial(t, client.Options{Address: "unix:" + socket, Model: "echo"})
	s, err := c.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const calls = 20
	for i := range calls {
		r := &client.Request{ID: fmt.Sprint(i), Inputs: []client.Tensor{tensor("a", 1+i*1000)}}
		if i == 3 {
			r.Model = "nobody"
		}
		if err := s.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if failed, ok := errors.AsType[*client.ErrFailed](err); ok {
			if failed.ID != "3" || status.Code(err) != codes.NotFound {
				t.Errorf("%s failed: %v %v", failed.ID, status.Code(err), failed)
			}
			seen[failed.ID]++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		seen[r.ID]++
		r.Free()
	}
	if len(seen) != calls {
		t.Errorf("answered were %v", seen)
	}
}

func TestRepository(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, socket, echo("echo", false))
	c := dial(t, client.Options{Address: "unix:" + socket, Model: "echo"})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if m, err := c.Metadata(ctx); err != nil || m.Name != "echo" {
		t.Error(m, err)
	}
	if m, err := c.Config(ctx); err != nil || m.Name != "echo" {
		t.Error(m, err)
	}
	if m, err := c.Server(ctx); err != nil || m.Version != "test" {
		t.Error(m, err)
	}
	if m, err := c.Statistics(ctx); err != nil || len(m) != 1 {
		t.Error(m, err)
	}
	if m, err := c.Index(ctx); err != nil || len(m) != 1 || m[0].State != "READY" {
		t.Error(m, err)
	}
	if err := c.Unload(ctx, "echo"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Infer(ctx, &client.Request{}); status.Code(err) != codes.Unavailable {
		t.Errorf("unloaded: %v", err)
	}
	if err := errors.Join(c.Load(ctx, "echo"), c.WaitReady(ctx)); err != nil {
		t.Error(err)
	}
}

// mount is a folder with what a mount says of its servers.
func mount(t *testing.T, list ...announce.Worker) string {
	t.Helper()
	dir := t.TempDir()
	tell(t, dir, list...)
	return dir
}

func tell(t *testing.T, dir string, list ...announce.Worker) {
	t.Helper()
	b, err := json.Marshal(announce.Workers{Workers: list})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, ".modelfs"), 0o755), os.WriteFile(filepath.Join(dir, ".modelfs/new"), b, 0o600),
		os.Rename(filepath.Join(dir, ".modelfs/new"), filepath.Join(dir, ".modelfs/workers.json"))); err != nil {
		t.Fatal(err)
	}
}

func worker(uid int, model string, listen ...string) announce.Worker {
	return announce.Worker{UID: uint32(uid), Announcement: announce.Announcement{Listen: listen, Models: []announce.Model{{Name: model, State: "READY"}}}}
}

func TestFind(t *testing.T) {
	me, other := os.Geteuid(), os.Geteuid()+1
	dir := mount(t, worker(0, "a", "h:1", "unix:/root"), worker(me, "a", "h:2"), worker(me, "b", "unix:/b"), worker(other, "a", "unix:/other"), worker(other, "c", "unix:/other"))
	for model, want := range map[string][]string{"a": {"unix:/root", "h:2"}, "b": {"unix:/b"}, "": {"unix:/root", "h:2", "unix:/b"}, "c": nil, "d": nil} {
		got, err := client.Find(dir, model)
		if !reflect.DeepEqual(got, want) || (err == nil) != (want != nil) || err != nil && !errors.Is(err, client.ErrNoServer) {
			t.Errorf("%q: %v, %v", model, got, err)
		}
		if model == "c" && !strings.Contains(fmt.Sprint(err), "other users") {
			t.Errorf("%v does not say why", err)
		}
	}
}

// TestServerThatGoes: callers that run while servers go, come back, and are replaced by
// others that the mount lists, see no error.
func TestServerThatGoes(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	end := serve(t, socket, echo("echo", false))
	dir := mount(t, worker(os.Geteuid(), "echo", "unix:"+socket))
	var stop atomic.Bool
	var calls atomic.Int64
	var done sync.WaitGroup
	defer done.Wait()
	defer stop.Store(true)
	for i := range 8 {
		o := client.Options{Mount: dir, Model: "echo"}
		if i%4 == 0 {
			o = client.Options{Address: "unix:" + socket, Model: "echo"}
		}
		c := dial(t, o)
		done.Go(func() {
			in := []client.Tensor{tensor("a", 1+i*100_000)} // also more than gRPC keeps by itself
			for !stop.Load() {
				r, err := c.Infer(context.Background(), &client.Request{Inputs: in})
				if err != nil {
					t.Errorf("caller %d: %v", i, err)
					return
				}
				if !bytes.Equal(r.Outputs[0].Bytes(), in[0].Data) {
					t.Errorf("caller %d got something else", i)
				}
				r.Free()
				calls.Add(1)
			}
		})
	}
	answered := func() {
		t.Helper()
		before := calls.Load()
		for start := time.Now(); calls.Load() < before+50 && !t.Failed(); time.Sleep(time.Millisecond) {
			if time.Since(start) > patience {
				t.Fatal("no calls are answered")
			}
		}
	}
	for range 3 {
		answered()
		end()
		tell(t, dir)
		time.Sleep(100 * time.Millisecond) // there is none
		end = serve(t, socket, echo("echo", false))
		tell(t, dir, worker(os.Geteuid(), "echo", "unix:"+socket))
	}
	answered()
	second := filepath.Join(t.TempDir(), "s")
	serve(t, second, echo("echo", false))
	tell(t, dir, worker(os.Geteuid(), "echo", "unix:"+second), worker(os.Geteuid(), "echo", "unix:"+socket))
	answered()
}

func TestTokenInClear(t *testing.T) {
	for address, refused := range map[string]bool{"10.0.0.1:8001": true, "127.0.0.1:8001": false, "unix:/s": false, "[::1]:8001": false, "example.org:1": true} {
		c, err := client.Dial(t.Context(), client.Options{Address: address, Token: "secret"})
		if (err != nil) != refused {
			t.Errorf("%s: %v", address, err)
		}
		if c != nil {
			_ = c.Close()
		}
	}
}
