// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !modelfs_portable

package shm

import (
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
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CLOSE_NOWRITE|unix.IN_CLOSE_WRITE); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	e := &events{wake: wake, file: os.NewFile(uintptr(fd), "inotify"), done: make(chan struct{})}
	go e.run()
	return e, nil
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
