// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// explain says what to do about a mount that failed.
func explain(err error, allowOther bool) error {
	if _, ok := errors.AsType[*exec.Error](err); ok {
		return errors.New("fusermount3 is not installed, and without root it makes the mount: apt install fuse3, or dnf install fuse3")
	}
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENODEV):
		return fmt.Errorf("%w: is /dev/fuse there? (modelfs doctor)", err)
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: this process may not mount (modelfs doctor)", err)
	case os.Geteuid() == 0:
		return err
	}
	// What fusermount3 says goes to stderr; all that its error has is an exit code.
	if why := refusal("/dev/fuse", "/etc/fuse.conf", allowOther); why != "" {
		return fmt.Errorf("fusermount3 refuses: %s (modelfs doctor)", why)
	}
	return fmt.Errorf("fusermount3 refuses, and says why above (%s); modelfs doctor looks at what it needs", strings.TrimSpace(err.Error()))
}

// refusal is what keeps fusermount3 from mounting for a user, as modelfs doctor has it;
// "" for nothing that is known.
func refusal(device, conf string, allowOther bool) string {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		_ = unix.Close(fd)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return device + " is not there: load the module: modprobe fuse; in a container: docker run --device " + device
	default:
		return fmt.Sprintf("%s cannot be opened (%v): the device must be open to you (-rw-rw-rw-), and the container's device cgroup must allow it: docker run --device %s", device, err, device)
	}
	if allowOther && !hasLine(conf, "user_allow_other") {
		return "user_allow_other is not set in " + conf + ": for --allow-other root adds the line user_allow_other"
	}
	if helper, err := exec.LookPath("fusermount3"); err == nil {
		if st, err := os.Stat(helper); err == nil && st.Mode()&os.ModeSetuid == 0 {
			return "it is not setuid root, so it cannot mount for you: chmod u+s " + helper
		}
	}
	return ""
}

func hasLine(file, want string) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) == want {
			return true
		}
	}
	return false
}
