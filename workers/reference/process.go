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
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/workers/caller"
)

const (
	startLimit  = 30 * time.Second // until a helper says that it is there
	answerLimit = 30 * time.Second // until it says anything to what is taken back
)

// errEnded says that a helper has ended, or was ended: another one may be asked.
var errEnded = errors.New("the helper has ended")

// process is one running helper.
type process struct {
	cmd   *exec.Cmd
	conn  *net.UnixConn
	raw   syscall.RawConn
	ended chan struct{} // closed when it has been waited for
	turns chan struct{} // has a value for each question that it has

	rights []byte // the reader's

	mu    sync.Mutex
	id    uint32            // guarded by mu: of the last question
	asked map[uint32]*asked // guarded by mu: what it has not answered; nil: it never will
}

// asked is a question that a helper has.
type asked struct {
	answer chan opened // has room for the one
	// guarded by process.mu:
	takenBack time.Time // zero: somebody waits for the answer
	heard     bool      // it has said that it knows that
}

// opened is what a question came to.
type opened struct {
	fd  int
	err error
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
	p := &process{ended: make(chan struct{}), turns: make(chan struct{}, maxQuestions), asked: map[uint32]*asked{}, rights: make([]byte, unix.CmsgSpace(4*4))}
	p.conn = conn.(*net.UnixConn) //nolint:errcheck // it is one of AF_UNIX
	if p.raw, err = p.conn.SyscallConn(); err != nil {
		p.conn.Close()
		return nil, fmt.Errorf("%w: make a socket for a helper: %w", ErrUnavailable, err)
	}
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
	if _, err := p.send(q); err != nil {
		return err
	}
	a, fd, err := p.receive()
	if fd >= 0 {
		unix.Close(fd)
	}
	if err == nil && (a != answer{} || fd >= 0) {
		err = errWire
	}
	if err != nil {
		return err
	}
	return p.conn.SetReadDeadline(time.Time{})
}

// end ends the helper; ended is closed soon. Again does no harm.
func (p *process) end() {
	p.conn.Close()
	p.cmd.Process.Kill()
}

// ask has a file opened. Errors are errno's, errEnded, ErrLimit, or the context's.
func (p *process) ask(ctx context.Context, place Place, write bool) (int, error) {
	if p.hangs(time.Now()) {
		p.end()
		return -1, errEnded
	}
	select {
	case p.turns <- struct{}{}:
	case <-p.ended:
		return -1, errEnded
	case <-ctx.Done():
		return -1, fmt.Errorf("%w: the user waits for %d files: %w", ErrLimit, maxQuestions, ctx.Err())
	}
	id, a := p.begin()
	if a == nil {
		return -1, errEnded
	}
	q := question{kind: place.kind, write: write, id: id, path: place.path}
	for {
		sent, err := p.send(q)
		if err != nil {
			p.end() // then the reader answers
		}
		if sent || err != nil {
			break
		}
		select {
		case <-time.After(time.Millisecond): // it has not read so many yet
		case <-p.ended:
			return -1, errEnded
		case <-ctx.Done():
			p.forget(id)
			return -1, ctx.Err()
		}
	}
	select {
	case o := <-a.answer:
		return o.fd, o.err
	case <-ctx.Done():
		p.takeBack(id, a)
		return -1, ctx.Err()
	}
}

// begin notes a question; nil if it will not be answered.
func (p *process) begin() (uint32, *asked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked == nil {
		return 0, nil
	}
	for {
		p.id++
		if p.id != 0 && p.asked[p.id] == nil { // 0 is the greeting's
			break
		}
	}
	a := &asked{answer: make(chan opened, 1)}
	p.asked[p.id] = a
	return p.id, a
}

// forget forgets a question that was not sent.
func (p *process) forget(id uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked[id] != nil {
		delete(p.asked, id)
		<-p.turns
	}
}

// takeBack has nobody wait for an answer. The question is the helper's until it comes.
func (p *process) takeBack(id uint32, a *asked) {
	p.mu.Lock()
	a.takenBack = time.Now()
	p.mu.Unlock()
	select {
	case o := <-a.answer: // it came just now
		o.close()
		return
	default:
	}
	_, _ = p.send(question{kind: takesBack, id: id}) // without it the answer comes later
}

// hangs says whether the helper has said nothing for too long: it was stopped, perhaps.
// One that waits for the mount says so.
func (p *process) hangs(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.asked {
		if !a.heard && !a.takenBack.IsZero() && now.Sub(a.takenBack) > answerLimit {
			return true
		}
	}
	return false
}

// read takes the helper's answers until it has ended.
func (p *process) read() {
	for {
		a, fd, err := p.receive()
		if err == nil {
			err = p.answered(a, fd)
		}
		if err != nil {
			break
		}
	}
	p.end()
	p.mu.Lock()
	left := p.asked
	p.asked = nil
	p.mu.Unlock()
	for _, a := range left {
		a.answer <- opened{-1, errEnded}
	}
}

// answered gives an answer to who waits for it.
func (p *process) answered(a answer, fd int) error {
	o := opened{fd: fd}
	if a.errno != 0 {
		o.err = a.errno
	}
	p.mu.Lock()
	q := p.asked[a.id]
	if q != nil && a.errno == stillOpening {
		q.heard = true
		p.mu.Unlock()
		return nil
	}
	wanted := q != nil && q.takenBack.IsZero()
	if wanted {
		q.answer <- o
	}
	if q != nil {
		delete(p.asked, a.id)
		<-p.turns
	}
	p.mu.Unlock()
	if !wanted {
		o.close()
	}
	if q == nil && a.errno != stillOpening { // that may come after the answer
		return fmt.Errorf("%w: an answer to question %d", errWire, a.id)
	}
	return nil
}

func (o opened) close() {
	if o.fd >= 0 {
		unix.Close(o.fd)
	}
}

// send sends a record, unless it would have to wait.
func (p *process) send(q question) (sent bool, err error) {
	record := q.append(nil)
	closed := p.raw.Control(func(fd uintptr) {
		_, err = again(func() (int, error) {
			return 0, unix.Send(int(fd), record, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		})
	})
	if errors.Is(err, unix.EAGAIN) {
		return false, nil
	}
	return err == nil, errors.Join(closed, err)
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
