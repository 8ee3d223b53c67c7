// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// watchUnmount returns when the mount with this id has left the mount table, or
// when ctx ends. The kernel tells a poller of the table that it changed; a
// detached mount whose files are still mapped sends the daemon nothing else.
func watchUnmount(ctx context.Context, dir string, id int) error {
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("watch the mount table: %w", err)
	}
	defer table.Close()
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
		m, ok, err := mounted(dir)
		if err != nil {
			return err
		}
		if !ok || m.id != id {
			if !stillThere(id) {
				return nil
			}
		}
		fds := []unix.PollFd{
			{Fd: int32(table.Fd()), Events: unix.POLLPRI | unix.POLLERR},
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

// stillThere looks for a mount by its id: something else may be mounted on top.
func stillThere(id int) bool {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return true
	}
	return hasMount(string(text), id)
}
