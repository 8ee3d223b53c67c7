// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// facts is what the doctor finds on a machine. Fields of type error are nil
// where a try went well.
type facts struct {
	release          string
	kernel           kernelVersion
	device           error // opening /dev/fuse
	deviceMode       string
	euid             int
	sysAdmin         bool // CAP_SYS_ADMIN is effective
	initialNamespace bool // in the initial user namespace

	fusermount       string // path, "" where there is none
	fusermountSetuid bool
	userAllowOther   bool

	passthroughConfig string // y, n, or "" where the kernel does not tell
	shmemEnabled      string // the chosen word of shmem_enabled
	hugeTmpfs         error
	noSwapTmpfs       error
	swapTotal         int64
	leases            string

	memory      memory
	memoryError error
	mounts      []mountFact
}

var errNoDevice = errors.New("no /dev/fuse")

// mountFact is one modelfs mount.
type mountFact struct {
	point  string
	stale  bool // of a daemon that died
	hangs  bool
	status *statusReport // nil where it does not say
}

type kernelVersion struct{ major, minor int }

func (k kernelVersion) atLeast(major, minor int) bool {
	return k.major > major || k.major == major && k.minor >= minor
}

// examine looks at the machine. It mounts and unmounts two empty tmpfs as root.
func (p *program) examine() facts {
	f := facts{euid: p.euid}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		f.release = unix.ByteSliceToString(name.Release[:])
		_, _ = fmt.Sscanf(f.release, "%d.%d", &f.kernel.major, &f.kernel.minor)
	}
	f.deviceMode, f.device = openDevice("/dev/fuse")
	f.sysAdmin = hasSysAdmin(firstLines("/proc/self/status"))
	f.initialNamespace = strings.Join(strings.Fields(firstLines("/proc/self/uid_map")), " ") == "0 0 4294967295"
	if path, err := exec.LookPath("fusermount3"); err == nil {
		f.fusermount = path
		st, err := os.Stat(path)
		f.fusermountSetuid = err == nil && st.Mode()&fs.ModeSetuid != 0
	}
	for line := range strings.Lines(firstLines("/etc/fuse.conf")) {
		f.userAllowOther = f.userAllowOther || strings.TrimSpace(line) == "user_allow_other"
	}
	f.passthroughConfig = kernelOption(f.release, "CONFIG_FUSE_PASSTHROUGH")
	f.shmemEnabled = chosen(firstLines("/sys/kernel/mm/transparent_hugepage/shmem_enabled"))
	if f.sysAdmin {
		f.hugeTmpfs = tryTmpfs("size=4m,huge=within_size")
		f.noSwapTmpfs = tryTmpfs("size=4m,noswap")
	}
	if info, err := readFields("/proc/meminfo"); err == nil {
		f.swapTotal = info["SwapTotal:"] << 10
	}
	f.leases = strings.TrimSpace(firstLines("/proc/sys/fs/leases-enable"))
	f.memory, f.memoryError = readMemory("/")
	p.examineMounts(&f)
	return f
}

// examineMounts asks each mount whether it answers, and those of root and one's
// own what their data path is. One that hangs is not waited for.
func (p *program) examineMounts(f *facts) {
	mounts, err := p.mounts()
	if err != nil {
		return
	}
	own, others := trusted(mounts, p.euid)
	for i, m := range append(own, others...) {
		answer := make(chan mountFact, 1)
		go func() {
			fact := mountFact{point: m.point, stale: stale(m.point)}
			if i < len(own) && !fact.stale {
				fact.status, _ = readStatus(m.point)
			}
			answer <- fact
		}()
		select {
		case fact := <-answer:
			f.mounts = append(f.mounts, fact)
		case <-time.After(2 * time.Second):
			f.mounts = append(f.mounts, mountFact{point: m.point, hangs: true})
		}
	}
}

func openDevice(path string) (mode string, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", errNoDevice
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return st.Mode().Perm().String(), errors.Unwrap(err)
	}
	f.Close()
	return st.Mode().Perm().String(), nil
}

// hasSysAdmin reads the effective capabilities of /proc/self/status.
func hasSysAdmin(status string) bool {
	for line := range strings.Lines(status) {
		if text, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			return err == nil && set&(1<<unix.CAP_SYS_ADMIN) != 0
		}
	}
	return false
}

// chosen returns the word in brackets: "always [never] deny" is never.
func chosen(text string) string {
	_, rest, _ := strings.Cut(text, "[")
	word, _, _ := strings.Cut(rest, "]")
	return word
}

// kernelOption looks an option up in the kernel's configuration: y, m, n, or ""
// where that is not to be had.
func kernelOption(release, option string) string {
	config := gunzip("/proc/config.gz")
	if config == nil {
		config, _ = os.ReadFile("/boot/config-" + release)
	}
	if config == nil {
		return ""
	}
	for line := range bytes.Lines(config) {
		if value, ok := bytes.CutPrefix(line, []byte(option+"=")); ok {
			return string(bytes.TrimSpace(value))
		}
	}
	return "n"
}

func gunzip(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(z, 4<<20))
	if err != nil {
		return nil
	}
	return text
}

// tryTmpfs mounts an empty tmpfs where nobody sees it, and takes it away again.
func tryTmpfs(options string) error {
	dir, err := os.MkdirTemp("", "modelfs-doctor-")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := unix.Mount("modelfs-doctor", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		return err
	}
	return unix.Unmount(dir, unix.MNT_DETACH)
}

func firstLines(path string) string {
	text, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return ""
	}
	return string(text)
}
