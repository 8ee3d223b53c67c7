// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	rpc "google.golang.org/grpc/status"

	"github.com/modelfs/modelfs/tests/internal/weights"
	"github.com/modelfs/modelfs/workers/inference"
)

// TestServedOnce: two models by eight handlers are in memory once each: what all of them
// have mapped of the mount is, by the kernel's own shares (PSS), at most 1.1 models a model.
// The control: what they have mapped, counted for each alone (RSS), is eight times that.
func TestServedOnce(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		const size, each = 64 << 20, 4
		p := newPlace(t, m)
		want := map[string]uint64{}
		for i, name := range []string{"a", "b"} {
			one, two := weights.Bytes("one", uint64(10+i), size/2), weights.Bytes("two", uint64(20+i), size/2)
			p.write(name+"/model.safetensors", weights.Safetensors(one, two))
			for _, data := range [][]byte{one.Data, two.Data} {
				for at := 0; at+8 <= len(data); at += 8 {
					want[name] += binary.LittleEndian.Uint64(data[at:])
				}
			}
		}
		d := p.start("--memory", "512MiB")
		s := d.serve([]string{"a=stress_models:Weights", "b=stress_models:Weights"}, "--workers", fmt.Sprint(each))
		s.await("eight handlers run", func() bool {
			return s.metric(`modelfs_inference_handlers{model="a"}`) == each && s.metric(`modelfs_inference_handlers{model="b"}`) == each
		})
		for name, sum := range want {
			out, err := s.client().ModelInfer(s.context(), request(name, nil))
			if err != nil {
				t.Fatal(err)
			}
			if got := binary.LittleEndian.Uint64(out.GetRawOutputContents()[0]); got != sum {
				t.Errorf("%s: the weights' sum is %d, want %d", name, got, sum)
			}
		}
		pids := s.handlers()
		if len(pids) != 2*each {
			t.Fatalf("the handlers are %v", pids)
		}
		var pss, rss int
		for _, pid := range pids {
			p, r := mappedBelow(t, pid, d.at("models"), d.at("tensors"))
			pss, rss = pss+p, rss+r
		}
		t.Logf("PSS %.1f MB, RSS %.1f MB of two models of %.1f MB", float64(pss)/1e6, float64(rss)/1e6, float64(size)/1e6)
		if most := 2 * size / 10 * 11; pss > most || pss < size {
			t.Errorf("what is mapped of the mount has a PSS of %d bytes, at most %d were expected", pss, most)
		}
		if least := 2 * each * size / 10 * 9; rss < least {
			t.Errorf("the control: what they have mapped is %d bytes, at least %d were expected", rss, least)
		}
	}, normal, noPassthrough)
}

// mappedBelow are the shares of a process in what it has mapped of files below folders.
func mappedBelow(t *testing.T, pid int, folders ...string) (pss, rss int) {
	t.Helper()
	f := must(os.Open(fmt.Sprintf("/proc/%d/smaps", pid)))(t)
	defer f.Close()
	counts := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if name, _, ok := strings.Cut(line, " "); ok && !strings.HasSuffix(name, ":") { // the head of a mapping
			counts = false
			for _, folder := range folders {
				counts = counts || strings.Contains(line, " "+folder+"/")
			}
			continue
		}
		var kb int
		if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kb); counts && n == 1 {
			pss += kb << 10
		}
		if n, _ := fmt.Sscanf(line, "Rss: %d kB", &kb); counts && n == 1 {
			rss += kb << 10
		}
	}
	return pss, rss
}

// TestServedWithoutPrivilege: a server and a mount of a user without privilege do all of
// it for that user, by reference too, and nothing for others.
func TestServedWithoutPrivilege(t *testing.T) {
	p := newPlace(t, unprivileged)
	p.writeModels("a")
	d := p.start()
	s := d.serve([]string{"echo=served_models:Echo", "scale=served_models:Scale"})
	at := "unix:" + s.socket
	d.shell(fmt.Sprintf("mkdir %[1]s && printf hello >%[1]s/f", d.at("sessions/mine")))
	h := &hostile{server: s}
	for _, c := range []struct {
		what string
		in   *inference.ModelInferRequest
		want codes.Code
	}{
		{"inline", request("echo", [][]byte{[]byte("hello")}, tensorOf("x", "UINT8", 5)), codes.OK},
		{"a session's file", h.byPath("sessions/mine/f", "UINT8", 5), codes.OK},
		{"a tensor", h.byPath("tensors/a/weight", "UINT8", small-128), codes.OK},
		{"texts whose lengths are wrong", h.byPath("sessions/mine/f", "BYTES", 1), codes.InvalidArgument},
		{"..", h.byPath("sessions/mine/../../models/a/model.safetensors", "UINT8", 5), codes.InvalidArgument},
	} {
		got, err := d.reader.infer(at, c.in)
		if err != nil || got.Code != c.want.String() {
			t.Errorf("%s: %s %s %v, want %v", c.what, got.Code, got.Message, err, c.want)
		}
	}
	if err := os.Chmod(s.socket, 0o666); err != nil {
		t.Fatal(err)
	}
	stranger := startReader(t, alice)
	if got, err := stranger.infer(at, h.byPath("sessions/mine/f", "UINT8", 5)); err != nil || got.Code != codes.PermissionDenied.String() {
		t.Errorf("another user's call by reference: %+v %v", got, err)
	}
	if got, err := stranger.infer(at, request("echo", [][]byte{[]byte("hello")}, tensorOf("x", "UINT8", 5))); err != nil || got.Code != codes.OK.String() {
		t.Errorf("another user's call: %+v %v", got, err)
	}
	d.shell("rm -r " + d.at("sessions/mine"))
}

// TestServedToOthers: with --socket-mode every user can call a server of root's at a socket
// in the usual folder, by reference with his own rights; nobody gets at the daemon's segments
// for that. The control: without it nobody else gets as far.
func TestServedToOthers(t *testing.T) {
	p := newPlace(t, normal)
	d := p.start("--allow-other")
	stranger := startReader(t, alice)
	const folder = "/run/modelfs-serve"
	call := func(s *server, in *inference.ModelInferRequest, want codes.Code) {
		t.Helper()
		if got, err := stranger.infer("unix:"+s.socket, in); err != nil || got.Code != want.String() {
			t.Errorf("another user's call: %+v %v, want %v", got, err, want)
		}
	}
	serve := func(name string, flags ...string) *server {
		s := p.serverAt(filepath.Join(folder, filepath.Base(p.dir)+name+".sock"), d, []string{"echo=served_models:Echo"}, flags...)
		s.start()
		s.awaitReady()
		return s
	}
	hello := request("echo", [][]byte{[]byte("hello")}, tensorOf("x", "UINT8", 5))
	s := serve("0660")
	call(s, hello, codes.Unavailable)
	s.end()
	s = serve("0666", "--socket-mode", "0666")
	call(s, hello, codes.OK)
	h := &hostile{server: s}
	call(s, h.byPath("sessions/no/such", "UINT8", 5), codes.NotFound) // as the caller
	call(s, h.byPath("sessions/"+s.sessions()[0]+"/.workers.json", "UINT8", 5), codes.OK)
	if _, err := stranger.list("/run/modelfs"); !errors.Is(err, unix.EACCES) {
		t.Errorf("the daemon's folder: %v", err)
	}
}

// TestServedWhenDaemonDies: a daemon that is killed takes no server with it, whatever the
// data path: tensors that are sent are answered before and after.
func TestServedWhenDaemonDies(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a")
		d := p.start()
		s := d.serve([]string{"echo=served_models:Echo"})
		data := make([]byte, 4<<20)
		call := func() error {
			_, err := s.client().ModelInfer(s.context(), request("echo", [][]byte{data}, tensorOf("x", "UINT8", int64(len(data)))))
			return err
		}
		if err := call(); err != nil {
			t.Fatal(err)
		}
		d.reader.kill()
		d.die()
		for range 5 {
			if err := call(); err != nil {
				t.Errorf("with a dead daemon: %v", err)
			}
		}
		h := &hostile{server: s}
		if _, err := s.client().ModelInfer(s.context(), h.byPath("tensors/a/weight", "UINT8", small-128)); err == nil || rpc.Code(err) == codes.OK {
			t.Error("a tensor of a dead mount was opened")
		} else {
			t.Logf("a tensor of a dead mount: %v", err)
		}
		s.end()
		out, stderr, code := runCommand(t, p.command(m.uid, "umount", d.mount))
		if code != 0 {
			_ = unix.Unmount(d.mount, unix.MNT_DETACH)
			t.Errorf("umount: %d %s%s", code, out, stderr)
		}
	}, normal, noPassthrough, unprivileged)
}

// TestServedWhenMountReturns: a server whose daemon is killed answers what it can without
// one, and when there is a mount again it is listed there, and has its memory and its
// clients' tensors there, as before.
func TestServedWhenMountReturns(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("a")
		d := p.start()
		fresh, used := d.serve([]string{"echo=served_models:Echo"}), d.serve([]string{"echo=served_models:Echo"})
		call := func(s *server, when string, bytes int64) {
			t.Helper()
			_, err := s.client().ModelInfer(s.context(), request("echo", [][]byte{make([]byte, bytes)}, tensorOf("x", "UINT8", bytes)))
			if err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
		replaced := func(s *server, when string) {
			t.Helper()
			pid := s.handlers()[0]
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			s.await("another handler runs", func() bool { pids := s.handlers(); return len(pids) == 1 && pids[0] != pid })
			call(s, when, 1)
		}
		call(used, "before", 1) // it has memory of the mount's
		d.reader.kill()
		d.die()
		call(fresh, "with a dead daemon, the first", 1)
		call(used, "with a dead daemon", 1)
		if out, stderr, code := runCommand(t, p.command(m.uid, "umount", d.mount)); code != 0 {
			t.Fatalf("umount: %d %s%s", code, out, stderr)
		}
		call(fresh, "without a mount", 1)
		call(used, "without a mount", 65<<20) // more than lies in one file of the arena
		next := p.start()
		fresh.d, used.d = next, next
		eventually(t, patience, "they are listed", func() bool {
			got := next.workersSeenBy(next.reader)
			return len(got) == 2 && len(got[0].Models) == 1 && got[0].Models[0].State == "READY" && got[0].PID != got[1].PID
		})
		call(used, "with a new mount", 1)
		before := next.status().Memory.Session
		call(fresh, "with what needs more memory", 65<<20)
		if held := next.status().Memory.Session - before; m.passes() != (held >= 64<<20) {
			t.Errorf("the new mount has %d bytes more", held)
		}
		replaced(fresh, "with a new handler")
		replaced(used, "with a new handler, and memory of the dead mount's")
		if m.uid == 0 { // as the caller
			h := &hostile{server: used}
			if _, err := used.client().ModelInfer(used.context(), h.byPath("tensors/a/weight", "UINT8", small-128)); err != nil {
				t.Errorf("a tensor of the new mount: %v", err)
			}
		}
		fresh.d = nil // its session is looked for when both have ended
		fresh.end()
		used.end()
	}, normal, noPassthrough, unprivileged)
}
