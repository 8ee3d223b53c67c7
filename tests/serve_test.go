// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/modelfs/modelfs/workers/inference"
)

// server is one running modelfs serve.
type server struct {
	*place
	d      *daemon // nil: without a mount
	uid    int
	cmd    *exec.Cmd
	log    *logText
	ended  chan struct{}
	err    error // of its end; read after ended
	gone   bool  // its end was looked at
	socket string
	tcp    string
	http   string

	connect sync.Once
	conn    inference.GRPCInferenceServiceClient // client's
}

// serve starts a server on the mount, as the user of the mode, and returns when its
// models can be called. Models are given as NAME=MODULE:CLASS of tests/python/handlers.
func (d *daemon) serve(models []string, flags ...string) *server {
	d.t.Helper()
	s := d.serverCommand(d, models, flags...)
	s.start()
	s.awaitReady()
	return s
}

// start starts the program and returns when it listens.
func (s *server) start() {
	p := s.place
	p.t.Helper()
	if err := s.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		s.err = s.cmd.Wait()
	}()
	p.t.Cleanup(s.finish)
	found := regexp.MustCompile(`modelfs: ready: unix:(\S+) (\S+) (http://\S+)`)
	s.await("the server says ready", func() bool {
		m := found.FindStringSubmatch(s.log.String())
		if m != nil {
			s.tcp, s.http = m[2], m[3]
		}
		return m != nil
	})
}

// serverCommand is a server that was not started yet.
func (p *place) serverCommand(d *daemon, models []string, flags ...string) *server {
	p.t.Helper()
	sockets := p.folder("run")
	socket := filepath.Join(sockets, fmt.Sprintf("s%d.sock", len(must(os.ReadDir(sockets))(p.t))))
	return p.serverAt(socket, d, models, flags...)
}

// serverAt is one with a Unix socket of that name.
func (p *place) serverAt(socket string, d *daemon, models []string, flags ...string) *server {
	p.t.Helper()
	py := needServingPython(p.t, p)
	s := &server{place: p, d: d, uid: p.mode.uid, log: &logText{}, ended: make(chan struct{}), socket: socket}
	var args []string
	if d != nil {
		args = append(args, "--mount", d.mount)
	}
	args = append(args, "serve", "--listen", "unix:"+s.socket, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--python", py.program)
	for _, m := range models {
		args = append(args, "--model", m)
	}
	s.cmd = p.command(s.uid, append(args, flags...)...)
	s.cmd.Env = append(s.cmd.Env, "PYTHONPATH="+py.path)
	s.cmd.Stderr, s.cmd.Stdout = s.log, s.log
	s.cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	return s
}

// await waits for something that a server does, as long as it lives.
func (s *server) await(what string, holds func() bool) {
	s.t.Helper()
	eventually(s.t, 4*patience, what, func() bool {
		select {
		case <-s.ended:
			s.t.Fatalf("%s: the server ended: %v\n%s", what, s.err, s.log)
		default:
		}
		return holds()
	})
}

// awaitReady waits until all models can be called. Python and its packages take
// seconds to start on a busy machine.
func (s *server) awaitReady() {
	s.t.Helper()
	s.await("all models are ready", func() bool { return s.get("/v2/health/ready") == http.StatusOK })
}

// get asks the server's HTTP port, and returns the status.
func (s *server) get(path string) int {
	code, _ := s.page(path)
	return code
}

func (s *server) page(path string) (int, string) {
	s.t.Helper()
	req := must(http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.http+path, http.NoBody))(s.t)
	req.Close = true // an idle connection is a descriptor of the server's
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer r.Body.Close()
	body := must(io.ReadAll(r.Body))(s.t)
	return r.StatusCode, string(body)
}

// metric is the value of a metric, with its labels as they are printed.
func (s *server) metric(name string) float64 {
	s.t.Helper()
	_, text := s.page("/metrics")
	for line := range strings.SplitSeq(text, "\n") {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return must(strconv.ParseFloat(rest, 64))(s.t)
		}
	}
	s.t.Fatalf("no metric %s in\n%s", name, text)
	return 0
}

// end ends the server with SIGTERM and sees that it ends well: nothing of it is left.
func (s *server) end() {
	s.t.Helper()
	if s.gone {
		return
	}
	s.cmd.Process.Signal(unix.SIGTERM)
	s.wait()
}

// wait waits for the end of a server that was told to end.
func (s *server) wait() {
	s.t.Helper()
	s.gone = true
	select {
	case <-s.ended:
	case <-time.After(2 * patience):
		s.t.Error("the server did not end")
		s.cmd.Process.Signal(unix.SIGQUIT) // its log then says where it hangs
		select {
		case <-s.ended:
		case <-time.After(time.Second):
			s.cmd.Process.Kill()
			<-s.ended
		}
	}
	if s.err != nil {
		s.t.Errorf("the server ended with %v\n%s", s.err, s.log)
	}
	if _, err := os.Lstat(s.socket); err == nil {
		s.t.Error("the server's socket is left")
	}
	if s.d != nil && !s.d.gone {
		if got := s.sessions(); len(got) > 0 {
			s.t.Errorf("the server's session is left: %v", got)
		}
	}
}

// sessions are the sessions of servers in the mount.
func (s *server) sessions() (mine []string) {
	s.t.Helper()
	for _, name := range must(s.d.list(s.d.at("sessions")))(s.t) {
		if strings.HasPrefix(name, "serve-") {
			mine = append(mine, name)
		}
	}
	return mine
}

// die kills the server with -9.
func (s *server) die() {
	s.cmd.Process.Kill()
	<-s.ended
	s.gone = true
}

// finish ends the server with the test.
func (s *server) finish() {
	if s.t.Failed() && !s.gone {
		select {
		case <-s.ended:
		default:
			s.cmd.Process.Signal(unix.SIGTERM)
			select {
			case <-s.ended:
			case <-time.After(patience):
				s.cmd.Process.Signal(unix.SIGQUIT)
				select {
				case <-s.ended:
				case <-time.After(time.Second):
					s.cmd.Process.Kill()
				}
			}
		}
		<-s.ended
		s.gone = true
	}
	s.end()
	for _, word := range []string{"panic:", "fatal error", "DATA RACE", "SIGBUS"} {
		if strings.Contains(s.log.String(), word) {
			s.t.Errorf("the server's log has %q", word)
		}
	}
	if s.t.Failed() {
		s.t.Logf("log of the server at %s:\n%s", s.socket, tail(s.log.String(), 20_000))
	}
}

// tail is the end of a long text.
func tail(text string, most int) string {
	if len(text) > most {
		return "…" + text[len(text)-most:]
	}
	return text
}

// dial connects to an address of a server; the connection ends with the test. There is
// no proxy between, and a message may be as large as it is.
func dial(t testing.TB, target string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	opts = append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(1<<31-1), grpc.MaxCallRecvMsgSize(1<<31-1)),
	}, opts...)
	conn := must(grpc.NewClient(target, opts...))(t)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// client calls the server over its Unix socket, all of them by one connection.
func (s *server) client() inference.GRPCInferenceServiceClient {
	s.connect.Do(func() { s.conn = s.another(s.t) })
	return s.conn
}

// another is a client with a connection of its own, which ends with the test.
func (s *server) another(t testing.TB) inference.GRPCInferenceServiceClient {
	t.Helper()
	return inference.NewGRPCInferenceServiceClient(dial(t, "unix:"+s.socket))
}

// context is the time that a call may take: more than it needs on any machine.
func (s *server) context() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*patience)
	s.t.Cleanup(cancel)
	return ctx
}

// handlers are the processes that run the server's models.
func (s *server) handlers() []int { return handlersOf(s.t, s.cmd.Process.Pid) }

func handlersOf(t testing.TB, server int) (pids []int) {
	t.Helper()
	for _, pid := range children(server) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.Contains(string(text), "modelfs.worker") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// children are the processes that a process has started.
func children(parent int) (pids []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
