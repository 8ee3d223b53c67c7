// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/syslog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/modelfs/modelfs/internal/daemon"
	"golang.org/x/sys/unix"
)

// readyFD is the descriptor that a child in the background reports on.
const readyFD = 3

// errReported is an error of which the child has told already.
var errReported = &reportedError{}

type reportedError struct{}

func (*reportedError) Error() string { return "" }

// startDaemon runs `mount` in a session of its own and returns when it is ready.
// Until then it shares our stderr, so that what goes wrong is seen here.
func (p *program) startDaemon(ctx context.Context, cfg daemon.Config, log string) error {
	self, err := executable()
	if err != nil {
		return err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe to the daemon: %w", err)
	}
	defer read.Close()
	args := append(daemonArguments(cfg), "--ready-fd="+strconv.Itoa(readyFD))
	if log != "" {
		if log, err = filepath.Abs(log); err != nil {
			return fmt.Errorf("--log: %w", err)
		}
		args = append(args, "--log="+log)
	}
	child := exec.Command(self, append(args, "--", cfg.MountPoint)...)
	child.Stderr = p.stderr
	if f, ok := p.stderr.(*os.File); ok {
		child.Stderr = f // handed over as it is, no goroutine that copies
	}
	child.Dir = "/"
	child.ExtraFiles = []*os.File{write}
	child.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	err = child.Start()
	write.Close()
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	return awaitReady(ctx, child, read)
}

func awaitReady(ctx context.Context, child *exec.Cmd, from io.Reader) error {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stop()
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(from).ReadString('\n')
		said <- line
	}()
	select {
	case line := <-said:
		if line == "ready\n" {
			return child.Process.Release()
		}
	case <-ctx.Done():
		child.Process.Signal(unix.SIGTERM)
		_ = child.Wait()
		return errors.New("interrupted before the mount was ready: it was taken back")
	}
	err := child.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return errReported
	}
	return fmt.Errorf("the daemon ended before it was ready: %v", err)
}

// daemonArguments spells a Config as flags, absolute paths and all, so that the
// child does not depend on where it runs and both measure memory but once.
func daemonArguments(cfg daemon.Config) []string {
	args := []string{
		"mount",
		"--memory=" + strconv.FormatInt(cfg.Memory, 10),
		"--policy=" + string(cfg.Policy),
		"--ttl=" + cfg.TTL.String(),
		"--max-models=" + strconv.Itoa(cfg.MaxModels),
		"--session-quota=" + strconv.FormatInt(cfg.SessionQuota, 10),
		"--session-ttl=" + cfg.SessionTTL.String(),
		"--over-budget=" + string(cfg.OverBudget),
		"--passthrough=" + string(cfg.Passthrough),
		"--hugepages=" + string(cfg.HugePages),
		"--allow-other=" + strconv.FormatBool(cfg.AllowOther),
	}
	for flag, values := range map[string][]string{"models": cfg.Models, "load": cfg.Load, "pin": cfg.Pin, "variants": cfg.Variants} {
		for _, v := range values {
			args = append(args, "--"+flag+"="+v)
		}
	}
	return args
}

// background is what a mount that runs in the background does about its streams.
// The nil one is a mount in the foreground.
type background struct {
	pipe *os.File // to the parent
	log  *os.File // --log
	to   *switchWriter
}

func newBackground(fd int, log string) (*background, error) {
	if fd == 0 {
		if log != "" {
			return nil, usagef("--log is for --daemon; in the foreground the log goes to stderr: modelfs mount … 2>FILE")
		}
		return nil, nil
	}
	unix.CloseOnExec(fd)
	b := &background{pipe: os.NewFile(uintptr(fd), "ready"), to: &switchWriter{}}
	if log == "" {
		return b, nil
	}
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("--log: %w", err)
	}
	b.log = f
	return b, nil
}

// logTo returns where the log goes: to w in the foreground, and until ready beside
// --log, where somebody may look for it later.
func (b *background) logTo(w io.Writer) io.Writer {
	if b == nil {
		return w
	}
	if b.log != nil {
		w = io.MultiWriter(w, b.log)
	}
	b.to.set(w)
	return b.to
}

// ready lets go of the terminal and tells the parent.
func (b *background) ready() error {
	if b == nil {
		return nil
	}
	sink, file := io.Discard, b.log
	switch {
	case b.log != nil:
		sink = b.log
	default:
		if s, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "modelfs"); err == nil {
			sink = s
		}
		var err error
		if file, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
			return err
		}
		defer file.Close()
	}
	b.to.set(sink)
	for fd := 1; fd <= 2; fd++ {
		if err := unix.Dup3(int(file.Fd()), fd, 0); err != nil {
			return fmt.Errorf("redirect descriptor %d: %w", fd, err)
		}
	}
	defer b.pipe.Close()
	_, err := io.WriteString(b.pipe, "ready\n")
	return err
}

// switchWriter is a writer that can be pointed elsewhere while others write.
type switchWriter struct{ to atomic.Pointer[io.Writer] }

func (s *switchWriter) set(w io.Writer) { s.to.Store(&w) }

func (s *switchWriter) Write(b []byte) (int, error) { return (*s.to.Load()).Write(b) }
