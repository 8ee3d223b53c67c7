// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// fsType is how the kernel's mount table calls what modelfs mounts.
const fsType = "fuse.modelfs"

// mountEntry is one line of mountinfo, see proc_pid_mountinfo(5).
type mountEntry struct {
	id      int
	device  string // major:minor, the same for every place that one filesystem is mounted at
	root    string // what of the filesystem is mounted there: "/" but for bind mounts
	point   string
	kind    string
	source  string
	options string // the filesystem's own, user_id= among them
}

// user returns the user that a FUSE filesystem was mounted for.
func (m mountEntry) user() (int, bool) {
	for o := range strings.SplitSeq(m.options, ",") {
		if text, ok := strings.CutPrefix(o, "user_id="); ok {
			id, err := strconv.Atoi(text)
			return id, err == nil
		}
	}
	return 0, false
}

// parseMounts reads a mount table in the order of mounting. Lines that are not
// as documented are left out.
func parseMounts(r io.Reader) ([]mountEntry, error) {
	var out []mountEntry
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		// 36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue
		// The optional fields, of any number, end with a lone "-".
		left, right, ok := strings.Cut(lines.Text(), " - ")
		before, after := strings.Fields(left), strings.Split(right, " ")
		if !ok || len(before) < 6 || len(after) < 3 {
			continue
		}
		id, err := strconv.Atoi(before[0])
		if err != nil {
			continue
		}
		out = append(out, mountEntry{
			id: id, device: before[2], root: unescapeOctal(before[3]), point: unescapeOctal(before[4]),
			kind: after[0], source: unescapeOctal(after[1]), options: after[2],
		})
	}
	return out, lines.Err()
}

// unescapeOctal undoes the escapes of the mount table: \040 is a space.
func unescapeOctal(s string) string {
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

func (p *program) mounts() ([]mountEntry, error) {
	f, err := os.Open(p.mountTable)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	defer f.Close()
	return parseMounts(f)
}

// topMount returns what is mounted at a place, the last of several.
func topMount(mounts []mountEntry, point string) (mountEntry, bool) {
	for i := len(mounts) - 1; i >= 0; i-- {
		if mounts[i].point == point {
			return mounts[i], true
		}
	}
	return mountEntry{}, false
}

// trusted are the modelfs mounts of root or of a user, one for each filesystem:
// anybody may mount something that calls itself modelfs.
func trusted(mounts []mountEntry, euid int) (own, others []mountEntry) {
	seen := map[string]bool{}
	for _, m := range mounts {
		top, _ := topMount(mounts, m.point)
		if m.kind != fsType || m.root != "/" || top.id != m.id || seen[m.device] {
			continue
		}
		seen[m.device] = true
		if user, ok := m.user(); ok && (user == 0 || user == euid) {
			own = append(own, m)
		} else {
			others = append(others, m)
		}
	}
	return own, others
}

func mountFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "mount", TakesFile: true,
		Usage: "use this `MOUNT`; else MODELFS_MOUNT, else the only modelfs mount there is",
	}
}

// mount finds the mount that a command is about: --mount, MODELFS_MOUNT, or the
// only one there is.
func (p *program) mount(c *cli.Context) (string, error) {
	for _, at := range c.Lineage() {
		if at.Command != nil && at.IsSet("mount") && at.String("mount") != "" {
			return p.found(filepath.Abs(at.String("mount")))
		}
	}
	return p.found(p.usualMount())
}

// found lets go of a mount that a command is about.
func (*program) found(mount string, err error) (string, error) {
	if err == nil {
		letGo(mount)
	}
	return mount, err
}

// usualMount is the mount where no flag names one.
func (p *program) usualMount() (string, error) {
	if named := p.getenv("MODELFS_MOUNT"); named != "" {
		return filepath.Abs(named)
	}
	mounts, err := p.mounts()
	if err != nil {
		return "", err
	}
	own, others := trusted(mounts, p.euid)
	switch {
	case len(own) == 1:
		return own[0].point, nil
	case len(own) > 1:
		return "", fmt.Errorf("several modelfs mounts: %s; say which with --mount or MODELFS_MOUNT", points(own))
	case len(others) > 0:
		return "", fmt.Errorf("no modelfs mount of root or of yours; if you trust who made %s, say --mount %s",
			points(others), others[0].point)
	}
	return "", errNoMount
}

var errNoMount = errors.New("no modelfs mount found: start one with `modelfs mount --models FOLDER MOUNT`, or name it with --mount or MODELFS_MOUNT")

func points(mounts []mountEntry) string {
	names := make([]string, len(mounts))
	for i, m := range mounts {
		names[i] = m.point
	}
	return strings.Join(names, ", ")
}

// explainMount rewords what the kernel says of a path in a mount.
func explainMount(mount string, err error) error {
	switch {
	case errors.Is(err, unix.ENOTCONN):
		return fmt.Errorf("the daemon of %s died: modelfs umount %s, then mount it again", mount, mount)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("no modelfs mount at %s (there is no %s/.modelfs/status.json): start one with `modelfs mount --models FOLDER %s`", mount, mount, mount)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s does not let you in: mount it with --allow-other, or ask as the user that mounted it", mount)
	}
	return err
}
