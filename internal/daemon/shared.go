// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// sharedDir is the tmpfs that everybody may use: what is written lies there where the
// daemon has no tmpfs of its own.
const sharedDir = "/dev/shm"

// sharedName begins the names of folders for a mount point. The rest is random: names
// that are known beforehand can be taken by others.
func sharedName(uid, mountPoint string) string {
	return "modelfs-" + uid + "-" + placeName(mountPoint) + "-"
}

// makeShared makes a folder on the machine's tmpfs. It is locked while the daemon is
// alive, which without passthrough may be longer than its mount is seen.
func makeShared(mountPoint string) (*os.File, error) {
	clearShared(mountPoint)
	dir, err := os.MkdirTemp(sharedDir, sharedName(fmt.Sprint(os.Geteuid()), mountPoint))
	if err != nil {
		return nil, fmt.Errorf("folder for what is written: %w", err)
	}
	f, err := os.Open(dir)
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil {
		_, err = os.Lstat(dir) // it may have been taken for a killed daemon's
	}
	if err != nil {
		_ = os.Remove(dir)
		return nil, fmt.Errorf("folder for what is written: %w", err)
	}
	return f, nil
}

// clearShared takes away what killed daemons of a mount point left on the machine's
// tmpfs: this user's, and to root anybody's.
func clearShared(mountPoint string) (found bool) {
	uid := "*"
	if os.Geteuid() != 0 {
		uid = fmt.Sprint(os.Geteuid())
	}
	list, _ := filepath.Glob(filepath.Join(sharedDir, sharedName(uid, mountPoint)+"*"))
	for _, dir := range list {
		found = clearOne(dir) || found
	}
	return found
}

func clearOne(dir string) bool {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || os.Geteuid() != 0 && int(st.Uid) != os.Geteuid() {
		return false
	}
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false // of one that is alive
	}
	return os.RemoveAll(dir) == nil
}
