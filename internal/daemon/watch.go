// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// watchUnmount returns when a mount has left the mount table, or when ctx ends. The
// kernel tells a poller of the table that it changed; a detached mount whose files
// are still mapped sends the daemon nothing else.
func watchUnmount(ctx context.Context, own mount) error {
	// Not os.Open: the runtime would add the file to its own poller, and whoever
	// polls first takes the change from all who poll the same open file.
	table, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("watch the mount table: %w", err)
	}
	defer unix.Close(table)
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch the mount table: %w", err)
	}
	defer unix.Close(stop)
	unhook := context.AfterFunc(ctx, func() { _, _ = unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
	defer func() {
		if !unhook() {
			<-ctx.Done() // the function has run or runs: its descriptor is open until it wrote
		}
	}()
	for {
		if !stillThere(own) {
			return nil
		}
		fds := []unix.PollFd{
			{Fd: int32(table), Events: unix.POLLPRI | unix.POLLERR},
			{Fd: int32(stop), Events: unix.POLLIN},
		}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return fmt.Errorf("watch the mount table: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// stillThere looks for a mount wherever it is: something else may be on top.
func stillThere(m mount) bool {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return true
	}
	return hasMount(string(text), m)
}
