// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	rpc "google.golang.org/grpc/status"

	"github.com/modelfs/modelfs/workers/inference"
)

// chaosTime is how long TestChaos goes on; MODELFS_CHAOS=10m says otherwise.
func chaosTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("MODELFS_CHAOS")
	if text == "" {
		return 15 * time.Second
	}
	return must(time.ParseDuration(text))(t)
}

// TestChaos: a hundred callers at once while a handler is killed each second. Each call is
// answered with what was asked, or fails with a code that says that it was not, and of the
// calls that a server has counted none is missing and none is there twice.
func TestChaos(t *testing.T) {
	const callers = 100
	length := chaosTime(t)
	p := newPlace(t, normal)
	d := p.start()
	s := d.serve([]string{"stamp=stress_models:Stamp"}, "--workers", "4")
	counted := func(result string) float64 {
		return s.metric(fmt.Sprintf("modelfs_inference_requests_total{model=%q,result=%q}", "stamp", result))
	}
	connections := make([]inference.GRPCInferenceServiceClient, 8)
	for i := range connections {
		connections[i] = s.another(t)
	}
	run := func(until func() bool) *tally {
		all := &tally{codes: map[codes.Code]int{}, seen: map[int64]bool{}}
		var wait sync.WaitGroup
		for i := range callers {
			wait.Go(func() { all.keepCalling(connections[i%len(connections)], i, until) })
		}
		wait.Wait()
		return all
	}
	warm := run(over(time.Second))
	before := s.measure()
	ok, failed := counted("success"), counted("failure")
	if int(ok) != warm.codes[codes.OK] {
		t.Errorf("the control: the server counts %.0f answers, %d came", ok, warm.codes[codes.OK])
	}
	seed := rand.Uint64()
	t.Logf("seed %d, %v", seed, length)
	stop, stopped := make(chan struct{}), make(chan struct{})
	var kills atomic.Int64
	go func() {
		defer close(stopped)
		s.killHandlers(rand.New(rand.NewPCG(seed, 0)), stop, &kills)
	}()
	got := run(over(length))
	close(stop)
	<-stopped
	t.Logf("%d handlers were killed; calls ended with %v", kills.Load(), got.codes)
	for _, wrong := range got.wrong {
		t.Error(wrong)
	}
	if got.codes[codes.OK] < callers || kills.Load() < int64(length/time.Second/2) {
		t.Errorf("%d answers, %d kills", got.codes[codes.OK], kills.Load())
	}
	bad := 0
	for code, n := range got.codes {
		switch code {
		case codes.OK:
		case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded:
			bad += n
		default:
			t.Errorf("%d calls ended with %v", n, code)
		}
	}
	// A call is counted after its answer is on its way.
	eventually(t, patience, "the server has counted all calls", func() bool {
		return int(counted("success")-ok+counted("failure")-failed) == got.codes[codes.OK]+bad
	})
	if n := int(counted("success") - ok); n != got.codes[codes.OK] {
		t.Errorf("the server counts %d answers, %d came", n, got.codes[codes.OK])
	}
	s.await("four handlers run", func() bool { return s.metric(`modelfs_inference_handlers{model="stamp"}`) == 4 })
	if after := run(over(time.Second)); len(after.codes) != 1 || after.codes[codes.OK] == 0 {
		t.Errorf("afterwards: %v", after.codes)
	}
	s.asBefore(before)
	if pids := s.handlers(); len(pids) != 4 {
		t.Errorf("there are the handlers %v", pids)
	}
}

// over says whether a time is over.
func over(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().After(end) }
}

// killHandlers kills a handler each second or so, at any moment of what it does.
func (s *server) killHandlers(r *rand.Rand, stop <-chan struct{}, kills *atomic.Int64) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(500*time.Millisecond + time.Duration(r.Int64N(int64(time.Second)))):
		}
		// One that is starting, which the kernel knows and the pool not yet, is as good.
		if pids := s.handlers(); len(pids) > 0 && unix.Kill(pids[r.IntN(len(pids))], unix.SIGKILL) == nil {
			kills.Add(1)
		}
	}
}

// tally is what became of calls.
type tally struct {
	next atomic.Int64

	mu    sync.Mutex
	codes map[codes.Code]int // guarded by mu
	seen  map[int64]bool     // guarded by mu: ids that were answered
	wrong []string           // guarded by mu
}

// keepCalling makes calls, each with an id and content of its own, and looks at what
// comes. What fails is not made again: each call counts once.
func (a *tally) keepCalling(c inference.GRPCInferenceServiceClient, caller int, over func() bool) {
	r := rand.New(rand.NewPCG(uint64(caller), 1))
	for !over() {
		id := a.next.Add(1)
		text := fmt.Sprintf("%d of %d %s", id, caller, strings.Repeat("x", r.IntN(3000)))
		in := stamp("stamp", id, text, time.Duration(r.IntN(4))*time.Millisecond)
		ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
		out, err := c.ModelInfer(ctx, in, grpc.WaitForReady(true))
		cancel()
		a.note(id, text, out, err)
		if err != nil { // as clients do
			time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
		}
	}
}

func (a *tally) note(id int64, text string, out *inference.ModelInferResponse, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.codes[rpc.Code(err)]++
	switch {
	case err != nil && rpc.Code(err) == codes.Unavailable && rpc.Convert(err).Message() == "":
		a.wrong = append(a.wrong, "UNAVAILABLE without a reason")
	case err != nil:
	case a.seen[id]:
		a.wrong = append(a.wrong, fmt.Sprintf("call %d was answered twice", id))
	default:
		a.seen[id] = true
		if reason := wrongStamp(id, text, out); reason != "" {
			a.wrong = append(a.wrong, reason)
		}
	}
}

// wrongStamp is what is wrong with an answer of Stamp; "" if nothing is.
func wrongStamp(id int64, text string, out *inference.ModelInferResponse) string {
	raw := out.GetRawOutputContents()
	if len(raw) != 3 || len(raw[0]) != 8 || len(raw[1]) < 4 || out.GetId() != fmt.Sprint(id) {
		return fmt.Sprintf("call %d has the answer %v", id, out)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", id, text))
	if got := int64(binary.LittleEndian.Uint64(raw[0])); got != id || string(raw[1][4:]) != hex.EncodeToString(sum[:]) {
		return fmt.Sprintf("call %d has the answer to %d, digest %s", id, got, raw[1][4:])
	}
	return ""
}
