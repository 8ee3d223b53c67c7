// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/workers/caller"
)

const (
	startLimit  = 30 * time.Second // until a helper says that it is there
	answerLimit = 30 * time.Second // for one open, which does not wait: the mount hangs else
)

// errEnded says that a helper has ended, or was ended: another one may be asked.
var errEnded = errors.New("the helper has ended")

// process is one running helper. It answers one question at a time.
type process struct {
	cmd   *exec.Cmd
	conn  *net.UnixConn
	ended chan struct{} // closed when it has been waited for

	turn   chan struct{} // holds one value while nobody asks
	id     uint32        // of the last question; guarded by turn
	since  time.Time     // of the oldest question that was given up; guarded by turn
	record []byte        // guarded by turn
	rights []byte        // guarded by turn
}

// startProcess starts a helper with a user's rights and waits until it is there.
func (o *Opener) startProcess(user caller.User) (*process, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: make a socket for a helper: %w", ErrUnavailable, err)
	}
	// Each end is closed by its os.File and by nobody else: a number that is closed twice
	// may be another file's the second time.
	ours, theirs := os.NewFile(uintptr(fds[0]), "helper"), os.NewFile(uintptr(fds[1]), "server")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("%w: make a socket for a helper: %w", ErrUnavailable, err)
	}
	p := &process{ended: make(chan struct{}), turn: make(chan struct{}, 1), rights: make([]byte, unix.CmsgSpace(4*4))}
	p.conn = conn.(*net.UnixConn) //nolint:errcheck // it is one of AF_UNIX
	p.cmd = &exec.Cmd{
		Path: o.command[0], Args: o.command, Env: o.environment, Dir: "/", Stderr: os.Stderr, ExtraFiles: []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: user.Uid, Gid: user.Gid, Groups: user.Groups},
			// The socket tells a helper, too, but not one that the mount keeps waiting.
			Pdeathsig: unix.SIGKILL,
			Setsid:    true, // ^C is the server's: it still opens files while it drains
		},
	}
	err = p.cmd.Start()
	theirs.Close() // while we have it, too, we do not see that a helper has ended
	if err != nil {
		p.conn.Close()
		return nil, notStarted(user, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // how it ended is on its stderr
	}()
	if err := p.greet(o.root, o.idle); err != nil {
		p.end()
		<-p.ended
		return nil, notStarted(user, fmt.Errorf("%w (%v; a program that embeds a server calls reference.HelperMain)", err, p.cmd.ProcessState))
	}
	p.turn <- struct{}{}
	return p, nil
}

func notStarted(user caller.User, err error) error {
	kind := ErrUnavailable
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		kind = ErrPermission // root without CAP_SETUID, or a program that others may not run
	}
	return fmt.Errorf("%w: start a helper with the rights of uid %d: %w", kind, user.Uid, err)
}

func (p *process) greet(root string, idle time.Duration) error {
	if err := p.conn.SetReadDeadline(time.Now().Add(startLimit)); err != nil {
		return err
	}
	q := question{kind: asksRoot, id: uint32(max(idle.Milliseconds(), 1)), path: root}
	if err := p.send(q); err != nil {
		return err
	}
	a, fd, err := p.receive()
	if fd >= 0 {
		unix.Close(fd)
	}
	if err == nil && (a != answer{} || fd >= 0) {
		err = errWire
	}
	return err
}

// end ends the helper; ended is closed soon. Again does no harm.
func (p *process) end() {
	p.conn.Close()
	p.cmd.Process.Kill()
}

// ask has a file opened. Errors are errno's, errEnded, or the context's.
func (p *process) ask(ctx context.Context, place Place, write bool) (int, error) {
	select {
	case <-p.turn:
	case <-p.ended:
		return -1, errEnded
	case <-ctx.Done():
		return -1, ctx.Err()
	}
	defer func() { p.turn <- struct{}{} }()
	now := time.Now()
	if !p.since.IsZero() && now.Sub(p.since) > answerLimit {
		p.end() // whoever asked before had less patience
		return -1, errEnded
	}
	if err := p.conn.SetDeadline(now.Add(answerLimit)); err != nil {
		return -1, errEnded
	}
	defer p.interruptible(ctx)()
	p.id++
	if p.id == 0 {
		p.id++ // the greeting's
	}
	err := p.send(question{kind: place.kind, write: write, id: p.id, path: place.path})
	for {
		var a answer
		fd := -1
		if err == nil {
			a, fd, err = p.receive()
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
			if p.since.IsZero() {
				p.since = now
			}
			return -1, ctx.Err() // the answer is for the next who asks to throw away
		case errors.Is(err, os.ErrDeadlineExceeded):
			p.end()
			return -1, unix.ETIMEDOUT
		case err != nil:
			p.end()
			return -1, errEnded
		case a.id != p.id:
			if fd >= 0 {
				unix.Close(fd)
			}
		default:
			p.since = time.Time{}
			if a.errno != 0 {
				return -1, a.errno
			}
			return fd, nil
		}
	}
}

// interruptible has ctx end a receive. The function that it returns ends that.
func (p *process) interruptible(ctx context.Context) func() {
	if ctx.Done() == nil {
		return func() {}
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = p.conn.SetDeadline(time.Unix(1, 0)) // closed: receive ends anyhow
	})
	return func() {
		if !stop() {
			<-fired // else it would interrupt the next who asks
		}
	}
}

func (p *process) send(q question) error {
	p.record = q.append(p.record[:0])
	_, _, err := p.conn.WriteMsgUnix(p.record, nil, nil)
	return err
}

// receive gets an answer; its descriptor, if there is one, belongs to who calls. What a
// helper may not send is an error.
func (p *process) receive() (answer, int, error) {
	var b [answerSize + 1]byte
	n, oobn, flags, _, err := p.conn.ReadMsgUnix(b[:], p.rights)
	if err != nil {
		return answer{}, -1, err
	}
	fds, err := descriptors(p.rights[:oobn])
	if n == 0 && err == nil {
		err = io.EOF
	}
	var a answer
	if err == nil {
		a, err = parseAnswer(b[:n])
	}
	// The greeting and errors come without one.
	if err == nil && (flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0 || len(fds) > 1 || (len(fds) == 1) != (a.errno == 0 && a.id != 0)) {
		err = errWire
	}
	if err != nil {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return answer{}, -1, err
	}
	if len(fds) == 1 {
		return a, fds[0], nil
	}
	return a, -1, nil
}

func descriptors(oob []byte) (all []int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		fds, rightsErr := unix.ParseUnixRights(&messages[i])
		all = append(all, fds...)
		err = errors.Join(err, rightsErr)
	}
	return all, err
}
