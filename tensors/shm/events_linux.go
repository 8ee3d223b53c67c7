// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !modelfs_portable

package shm

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// events tells that a last user of some file in a folder has gone: inotify says
// so also for files that are unlinked and for processes that were killed.
type events struct {
	wake chan<- struct{}
	file *os.File
	done chan struct{}
}

func watch(dir string, wake chan<- struct{}) (*events, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	e := &events{wake: wake, file: os.NewFile(uintptr(fd), "inotify"), done: make(chan struct{})}
	if err := e.add(dir); err != nil {
		_ = e.file.Close()
		return nil, err
	}
	go e.run()
	return e, nil
}

// add watches one more folder.
func (e *events) add(dir string) error {
	raw, err := e.file.SyscallConn() // not Fd, which makes reads block for good
	if err == nil {
		err2 := raw.Control(func(fd uintptr) {
			_, err = unix.InotifyAddWatch(int(fd), dir, unix.IN_CLOSE_NOWRITE|unix.IN_CLOSE_WRITE)
		})
		err = errors.Join(err, err2)
	}
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	return nil
}

// run reads what is queued and keeps nothing of it: names and counts of events
// that merge say less than the lease does.
func (e *events) run() {
	defer close(e.done)
	buf := make([]byte, 4096)
	for {
		if n, err := e.file.Read(buf); err != nil || n == 0 {
			return
		}
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
}

// close waits for run; on nil it does nothing.
func (e *events) close() {
	if e != nil {
		_ = e.file.Close()
		<-e.done
	}
}
