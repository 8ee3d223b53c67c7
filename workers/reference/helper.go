// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// helperEnv makes a program that calls HelperMain a helper.
	helperEnv = "MODELFS_OPEN_HELPER"
	// helperFD is a helper's end of its socket.
	helperFD = 3
)

// HelperMain is called first in main by programs that embed a server and give no
// Options.Command: an Opener starts the program once more for each user. It returns at
// once in the program itself; in a helper it serves, and ends the process.
func HelperMain() {
	if os.Getenv(helperEnv) == "" {
		return
	}
	if err := ServeHelper(); err != nil {
		fmt.Fprintln(os.Stderr, "open helper:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// ServeHelper is what a helper process does: it opens what it is asked for on descriptor
// 3, with the rights that it was started with, until that is closed or nobody has asked
// for a while.
func ServeHelper() error {
	runtime.LockOSThread() // the main thread's state is what others see of a process
	if err := confine(); err != nil {
		return err
	}
	b := make([]byte, maxQuestion+1)
	q, err := receive(b)
	if err != nil {
		return err
	}
	if q.kind != asksRoot || q.idle() <= 0 {
		return errWire
	}
	root := q.path
	wait := unix.NsecToTimeval(q.idle().Nanoseconds())
	if err := unix.SetsockoptTimeval(helperFD, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return fmt.Errorf("set a time limit: %w", err)
	}
	if err := reply(answer{}, -1); err != nil {
		return err
	}
	return answerQuestions(root, q.idle())
}

func (q question) open(root string, who *patient) (int, error) {
	p, err := q.place()
	if err != nil {
		return -1, err
	}
	return openBelow(root, p, q.write, who)
}

// confine gives up what a helper does not need. What it may open is up to its user,
// group and groups alone. Its user, who may signal it, cannot trace it.
func confine() error {
	if err := closeInherited(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid tracing: %w", err)
	}
	return confineThread()
}

// confineThread does what is each thread's own. Threads are not made of the one that
// main runs in, so each that opens files does it.
func confineThread() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	// EINVAL: a kernel without ambient ones.
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none, left [2]unix.CapUserData
	if err := unix.Capset(&head, &none[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if err := unix.Capget(&head, &left[0]); err != nil {
		return fmt.Errorf("ask for capabilities: %w", err)
	}
	if left != none {
		return fmt.Errorf("capabilities are left: %+v", left)
	}
	return nil
}

// closeInherited closes what a server has inherited itself, such as a shell's pipes, and
// passes on without knowing. What this runtime has opened stays: it may use it.
func closeInherited() error {
	const table = "/proc/self/fd"
	entries, err := os.ReadDir(table)
	if err != nil {
		return fmt.Errorf("look for inherited descriptors: %w", err)
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= helperFD {
			continue
		}
		to, err := os.Readlink(filepath.Join(table, e.Name()))
		if err == nil && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/sys/fs/cgroup/") {
			unix.Close(fd)
		}
	}
	return nil
}

// errOver says that the server has closed its end.
var errOver = errors.New("the server has gone")

func receive(b []byte) (question, error) {
	n, err := again(func() (int, error) {
		n, _, err := unix.Recvfrom(helperFD, b, 0)
		return n, err
	})
	if err != nil {
		return question{}, fmt.Errorf("receive: %w", err)
	}
	if n == 0 {
		return question{}, errOver
	}
	return parseQuestion(b[:n])
}

func reply(a answer, fd int) error {
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	_, err := again(func() (int, error) {
		return unix.SendmsgN(helperFD, a.append(nil), rights, nil, unix.MSG_NOSIGNAL)
	})
	if errors.Is(err, unix.EPIPE) {
		return nil // the next receive says it
	}
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}
