// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// prepare makes sure that the mount point is a folder that nothing is mounted
// on. What a killed daemon left there is detached.
func prepare(dir string, log *slog.Logger) error {
	// Not stat: the kernel may answer it for a dead daemon from what it knows.
	var space unix.Statfs_t
	err := unix.Statfs(dir, &space)
	for range 8 { // stacked stale mounts, each seen only when the one above is gone
		if !errors.Is(err, unix.ENOTCONN) {
			break
		}
		log.Warn("detaching the mount of a daemon that died", "mount", dir)
		if err := detach(dir); err != nil {
			return fmt.Errorf("%w: %s holds the mount of a daemon that died, and it cannot be detached (%w); as root: umount -l %s",
				ErrMountPoint, dir, err, dir)
		}
		err = unix.Statfs(dir, &space)
	}
	var st unix.Stat_t
	if err == nil {
		err = unix.Stat(dir, &st)
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: %s does not exist; make it: mkdir -p %s", ErrMountPoint, dir, dir)
	case err != nil:
		return fmt.Errorf("%w: %s: %w", ErrMountPoint, dir, err)
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%w: %s is not a folder", ErrMountPoint, dir)
	}
	m, ok, err := mounted(dir)
	if err != nil {
		return err
	}
	if ok {
		by := "umount"
		if m.kind == "fuse.modelfs" {
			by = "modelfs umount"
		}
		return fmt.Errorf("%w: %s is in use by a mount of type %s; unmount it first: %s %s",
			ErrMountPoint, dir, m.kind, by, dir)
	}
	return nil
}

// detach takes a mount off its place, whoever still uses it.
func detach(dir string) error {
	err := unix.Unmount(dir, unix.MNT_DETACH)
	if err == nil || !errors.Is(err, unix.EPERM) {
		return err
	}
	for _, bin := range []string{"fusermount3", "fusermount"} {
		if path, lookErr := exec.LookPath(bin); lookErr == nil {
			out, runErr := exec.Command(path, "-u", "-z", dir).CombinedOutput()
			if runErr != nil {
				return fmt.Errorf("%s: %s", bin, strings.TrimSpace(string(out)))
			}
			return nil
		}
	}
	return err
}

// mount is one line of the mount table.
type mount struct {
	id     int
	device string // major:minor; no other mount has it while anything of this one is in use
	kind   string
}

// mounted returns the topmost mount at a place.
func mounted(dir string) (mount, bool, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return mount{}, false, fmt.Errorf("read the mount table: %w", err)
	}
	defer f.Close()
	return findMount(f, dir)
}

func findMount(table io.Reader, dir string) (found mount, ok bool, err error) {
	dir = filepath.Clean(dir)
	lines := bufio.NewScanner(table)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		left, right, cut := strings.Cut(lines.Text(), " - ")
		fields, after := strings.Fields(left), strings.Fields(right)
		if !cut || len(fields) < 5 || len(after) < 1 || unescape(fields[4]) != dir {
			continue
		}
		id, err := strconv.Atoi(fields[0])
		if err != nil {
			continue
		}
		found, ok = mount{id: id, device: fields[2], kind: after[0]}, true
	}
	return found, ok, lines.Err()
}

// unescape undoes the octal escapes of the mount table (\040 for a space).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// hasMount says whether a mount table has a mount. Its id alone may be another's by
// now.
func hasMount(table string, m mount) bool {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) > 2 && fields[0] == strconv.Itoa(m.id) && fields[2] == m.device {
			return true
		}
	}
	return false
}
