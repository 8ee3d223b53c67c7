// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is how a handler process is started, and what it may do.
type Command struct {
	Args []string // the program and its arguments; its end of the socket is descriptor 3
	Env  []string // nil: this process's
	Dir  string   // "": this process's
	Log  *slog.Logger

	StartLimit time.Duration // until HELLO, the loading of the model included; 0: ten minutes
	Limit      time.Duration // until an answer; 0: none
	Memory     int64         // bytes of its own (RssAnon), looked at each second; 0: no limit
	Grace      time.Duration // for calls that run when it is closed; 0: five seconds
}

const (
	startLimit = 10 * time.Minute
	grace      = 5 * time.Second
	term       = time.Second // from SIGTERM to SIGKILL
	lastWords  = 250 * time.Millisecond
	ahead      = 7 // calls that lie in the socket while one runs
)

// Process is a handler in a process of its own. All its methods may be called at any time
// and from anywhere.
type Process struct {
	command Command
	log     *slog.Logger
	child   *exec.Cmd
	pid     int
	socket  *os.File
	raw     syscall.RawConn
	spec    Spec
	names   map[string]string // of outputs, so that none is made for each response
	slots   chan struct{}     // as many as calls it may have
	output  *output
	stop    sync.Once

	exited chan struct{}         // closed when the child has ended
	dead   chan struct{}         // closed when the child is gone and its memory with it
	cause  atomic.Pointer[error] // why it is being killed; the first counts
	gone   error                 // ErrGone with the reason; set before dead is closed
	hello  chan record           // the first record, or closed

	wmu    sync.Mutex
	buffer []byte            // what is written next
	next   uint64            // the id of the call that was sent last
	known  map[uint64]*known // the files that the child has
	recent []*known          // those of clients, the one used last at the end
	unsent []*known          // what the child has to be sent before the next call

	fmu     sync.Mutex
	forgets []uint64 // what is to be forgotten, and could not be said yet

	mu    sync.Mutex
	calls map[uint64]*running // nil once the child is gone
	turn  time.Time           // when the last call ended that did
}

// Start starts a handler and returns when it can serve. ctx ends only the starting. An
// error says what the handler said of itself, or how it ended.
func Start(ctx context.Context, command Command) (*Process, error) {
	if len(command.Args) == 0 {
		return nil, errors.New("a handler without a program")
	}
	if command.Log == nil {
		command.Log = slog.New(slog.DiscardHandler)
	}
	if command.StartLimit == 0 {
		command.StartLimit = startLimit
	}
	if command.Grace == 0 {
		command.Grace = grace
	}
	p := &Process{
		command: command, exited: make(chan struct{}), dead: make(chan struct{}), hello: make(chan record, 1),
		known: map[uint64]*known{}, calls: map[uint64]*running{},
	}
	if err := p.start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", command.Args[0], err)
	}
	if err := p.greet(ctx); err != nil {
		p.kill(err)
		<-p.dead
		return nil, err
	}
	go p.watch()
	return p, nil
}

// start makes the channel and the child, and the goroutines that end with it.
func (p *Process) start() error {
	ours, theirs, err := socketpair()
	if err != nil {
		return err
	}
	// By File.Close alone: a number that is closed behind an os.File's back is somebody
	// else's by the time that the File is collected.
	defer theirs.Close()
	p.socket = ours
	if p.raw, err = ours.SyscallConn(); err != nil {
		ours.Close()
		return err
	}
	p.child = exec.Command(p.command.Args[0], p.command.Args[1:]...)
	p.child.Env, p.child.Dir = p.command.Env, p.command.Dir
	p.child.ExtraFiles = []*os.File{theirs}
	p.child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.output = &output{}
	started := make(chan error)
	go p.supervise(started)
	if err := <-started; err != nil {
		ours.Close()
		return err
	}
	return nil
}

func socketpair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	_ = unix.SetNonblock(fds[0], true) // so that the runtime polls it; it does not fail for a socket
	return os.NewFile(uintptr(fds[0]), "handler"), os.NewFile(uintptr(fds[1]), "server"), nil
}

// supervise runs the child from its start to its end. It keeps its thread: the kernel
// kills the child when the thread that started it ends, which is wanted of the process
// alone, and waiting takes a thread anyway.
func (p *Process) supervise(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	outputs, err := p.output.pipes(p.child)
	if err == nil {
		err = p.child.Start()
		outputs.started()
	}
	if err != nil {
		outputs.end()
		started <- err
		return
	}
	p.pid = p.child.Process.Pid
	p.log = p.command.Log.With("pid", p.pid)
	outputs.read(p.log)
	read := make(chan struct{})
	go func() { p.read(); close(read) }()
	started <- nil

	// Not reaped before its group is killed: until then nobody else's can have its number.
	for {
		if err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	close(p.exited)
	_ = unix.Kill(-p.pid, unix.SIGKILL)
	_ = p.child.Wait()
	outputs.end()
	p.socket.Close()
	<-read
	p.end()
}

// end says to everybody that the child is gone.
func (p *Process) end() {
	var reason error
	if cause := p.cause.Load(); cause != nil && !errors.Is(*cause, errEOF) {
		reason = *cause
	} else {
		reason = errors.New(p.ending())
	}
	p.gone = fmt.Errorf("%w: %w", ErrGone, reason)
	var left []*running
	p.mu.Lock()
	current := p.currentLocked()
	for _, r := range p.calls {
		r.begun = current == nil || r == current
		if r.abandoned { // whoever is in Infer finishes the others, and they are another's then
			left = append(left, r)
		}
	}
	p.calls = nil
	p.mu.Unlock()
	close(p.dead)
	for _, r := range left {
		p.finish(r)
	}
}

// ending says how the child ended. What it printed is for the log alone: it may be about
// another's call than that of who is told.
func (p *Process) ending() string {
	status, ok := p.child.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return "ended"
	case status.Signaled():
		return fmt.Sprintf("killed by signal %d (%s)", status.Signal(), status.Signal())
	default:
		return fmt.Sprintf("ended with status %d", status.ExitStatus())
	}
}

// notStarted says why the child ended before it had calls, with what it said last: whoever
// has started it needs to know, and there is no secret in it.
func (p *Process) notStarted() error {
	if missing := p.output.missing(); missing != "" {
		return fmt.Errorf("%w: %s needs the package %s: %s -m pip install %s", ErrGone, p.command.Args[0], missing, p.command.Args[0], missing)
	}
	if last := p.output.last(); last != "" {
		return fmt.Errorf("%w: %s", p.gone, last)
	}
	return p.gone
}

var errEOF = errors.New("closed its socket")

// kill ends the child at once, for that reason. Everything else follows from its end.
func (p *Process) kill(cause error) {
	if p.cause.CompareAndSwap(nil, &cause) && errors.Is(cause, errEOF) {
		// It is ending by itself, most probably, and its status says more than a SIGKILL's.
		select {
		case <-p.exited:
			return
		case <-time.After(lastWords):
			p.cause.Store(&errClosed)
		}
	}
	_ = p.child.Process.Signal(syscall.SIGKILL) // through its pidfd: never somebody else
}

var errClosed = errors.New("closed its socket and lived on")

// greet waits for HELLO.
func (p *Process) greet(ctx context.Context) error {
	limit := time.NewTimer(p.command.StartLimit)
	defer limit.Stop()
	select {
	case r, ok := <-p.hello: // also when it has ended since
		if !ok {
			<-p.dead
			return p.notStarted()
		}
		spec, err := parseHello(r.body)
		if err != nil {
			return err
		}
		p.names = map[string]string{}
		for _, t := range spec.Outputs {
			p.names[t.Name] = t.Name
		}
		if spec.Concurrency == 1 && !spec.Decoupled {
			spec.Ahead = ahead
		}
		p.spec = spec
		p.slots = make(chan struct{}, spec.Concurrency+spec.Ahead)
		return nil
	case <-limit.C:
		return fmt.Errorf("%w: not ready within %v", ErrGone, p.command.StartLimit)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Spec is what the handler said of its model. Its slices are not to be changed.
func (p *Process) Spec() Spec { return p.spec }

// PID is the child's.
func (p *Process) PID() int { return p.pid }

// Dead is closed when the child is gone and nothing of its memory is used any more.
func (p *Process) Dead() <-chan struct{} { return p.dead }

// Err says why the child is gone, wrapped in ErrGone; nil as long as it lives.
func (p *Process) Err() error {
	select {
	case <-p.dead:
		return p.gone
	default:
		return nil
	}
}

// Close lets the calls that run come to their end, for Grace, and ends the child. It
// returns when that is gone.
func (p *Process) Close() error {
	p.stop.Do(func() {
		p.tell(appendHeader(nil, typeStop, 0, 0, 0))
		if p.await(p.command.Grace) {
			return
		}
		_ = p.child.Process.Signal(syscall.SIGTERM)
		if p.await(term) {
			return
		}
		p.kill(errors.New("did not end when it was told to"))
	})
	<-p.dead
	return nil
}

func (p *Process) await(d time.Duration) bool {
	limit := time.NewTimer(d)
	defer limit.Stop()
	select {
	case <-p.dead:
		return true
	case <-limit.C:
		return false
	}
}
