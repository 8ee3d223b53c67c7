// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/modelfs/modelfs/internal/daemon"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// cleanUp is how long umount waits for the daemon to give everything back.
const cleanUp = 5 * time.Second

func (p *program) umountCommand() *cli.Command {
	return &cli.Command{
		Name: "umount", Usage: "unmount; the mount point is free at once, mappings stay valid",
		ArgsUsage: "MOUNT",
		Description: "Detaches the mount, whoever uses it, and waits until the daemon has given everything back. " +
			"What a killed daemon left behind goes as well. Plain umount(8) works too when nobody uses the mount.",
		Action: p.umount,
	}
}

func (p *program) umount(c *cli.Context) error {
	if err := argumentCount(c, 1, 1); err != nil {
		return err
	}
	point, err := canonical(c.Args().First())
	if err != nil {
		return err
	}
	if err := p.checkMounted(point); err != nil {
		if found, clearErr := daemon.Clear(point); clearErr == nil && found {
			_, err = fmt.Fprintf(p.stdout, "removed what a killed daemon of %s left\n", point)
		}
		return err
	}
	process := daemonOf(point)
	defer process.close()
	if err := p.detach(point); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(p.stdout, "unmounted %s\n", point); err != nil {
		return err
	}
	if !process.ended(cleanUp) {
		_, err := fmt.Fprintf(p.stdout, "the daemon (pid %d) lives on: without passthrough it serves the mappings that processes still hold, and ends with the last of them\n", process.pid)
		return err
	}
	if _, err := daemon.Clear(point); err != nil {
		return fmt.Errorf("remove what a killed daemon of %s left: %w", point, err)
	}
	return nil
}

// canonical makes the path of a mount point as the mount table has it, without
// touching the mount itself, which may be of a daemon that died.
func canonical(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	for range 40 {
		link, err := os.Readlink(abs)
		if err != nil {
			break
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(abs), link)
		}
		abs = link
	}
	if parent, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(parent, filepath.Base(abs))
	}
	return abs, nil
}

func (p *program) checkMounted(point string) error {
	mounts, err := p.mounts()
	if err != nil {
		return err
	}
	top, ok := topMount(mounts, point)
	switch {
	case ok && top.kind != fsType:
		return fmt.Errorf("%s is a mount of type %s, not of modelfs: use umount", point, top.kind)
	case ok:
		return nil
	}
	own, others := trusted(mounts, p.euid)
	if all := append(own, others...); len(all) > 0 {
		return fmt.Errorf("nothing is mounted at %s; modelfs mounts: %s", point, points(all))
	}
	return fmt.Errorf("nothing is mounted at %s, and there is no modelfs mount", point)
}

// detach takes the mount off its place, and with it those of killed daemons
// that lie below it.
func (p *program) detach(point string) error {
	for range 16 {
		if err := p.detachOne(point); err != nil {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
		mounts, err := p.mounts()
		if err != nil {
			return err
		}
		top, ok := topMount(mounts, point)
		if !ok || top.kind != fsType || !stale(point) {
			return nil
		}
	}
	return nil
}

// stale says whether a mount is of a daemon that died. The kernel never answers
// statfs from what it knows.
func stale(point string) bool {
	var st unix.Statfs_t
	return errors.Is(unix.Statfs(point, &st), unix.ENOTCONN)
}

func (p *program) detachOne(point string) error {
	err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	mounts, tableErr := p.mounts()
	if tableErr != nil {
		return tableErr
	}
	top, _ := topMount(mounts, point)
	switch user, ok := top.user(); {
	case ok && user == 0 && p.euid != 0:
		return errors.New("root mounted it, and only root may unmount it")
	case ok && user != p.euid:
		return fmt.Errorf("user %d mounted it, and only that user and root may unmount it", user)
	}
	helper, lookErr := exec.LookPath("fusermount3")
	if lookErr != nil {
		return fmt.Errorf("%w: only root may, or whoever mounted it, with fusermount3, which is not installed (package fuse3)", err)
	}
	if text, err := exec.Command(helper, "-u", "-z", point).CombinedOutput(); err != nil {
		return fmt.Errorf("fusermount3: %s", strings.TrimSpace(string(text)))
	}
	return nil
}

// daemonProcess is the daemon of a mount, held so that its pid is not another's.
type daemonProcess struct {
	pid, fd int // fd is a pidfd, -1 where there is no daemon to wait for
}

// daemonOf asks a mount for its daemon. One that does not answer is not waited for.
func daemonOf(point string) daemonProcess {
	answer := make(chan int, 1)
	go func() {
		if s, err := readStatus(point); err == nil {
			answer <- s.PID
		}
		close(answer)
	}()
	var pid int
	select {
	case pid = <-answer:
	case <-time.After(2 * time.Second):
	}
	if pid <= 0 {
		return daemonProcess{fd: -1}
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		fd = -1
	}
	return daemonProcess{pid, fd}
}

// ended waits for the daemon's end; true as well where there is none.
func (d daemonProcess) ended(within time.Duration) bool {
	if d.fd < 0 {
		return true
	}
	deadline := time.Now().Add(within)
	for {
		left := max(time.Until(deadline), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if n > 0 {
			return true
		}
		if left == 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}

func (d daemonProcess) close() {
	if d.fd >= 0 {
		unix.Close(d.fd)
	}
}
