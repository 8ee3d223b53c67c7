// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// level is how well something is.
type level string

// The levels of a check. Only what failed keeps modelfs from running.
const (
	works    level = "ok"
	degraded level = "degraded"
	failed   level = "failed"
)

// check is one line of the doctor's: what was looked at, what was found, and
// what to do about it.
type check struct {
	Name  string `json:"name"`
	Level level  `json:"status"`
	Found string `json:"found"`
	Hint  string `json:"hint"` // "" where nothing is to be done
}

func (p *program) doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "say what works on this machine, and what to do about the rest",
		ArgsUsage: " ",
		Description: "Looks at the kernel, /dev/fuse, privileges, passthrough, huge pages and memory. " +
			"Exits 0 if modelfs can run at all, 1 if not.",
		Flags:  []cli.Flag{jsonFlag("the checks as JSON")},
		Action: p.doctor,
	}
}

func (p *program) doctor(c *cli.Context) error {
	if err := argumentCount(c, 0, 0); err != nil {
		return err
	}
	checks := diagnose(p.examine())
	bad := 0
	for _, ch := range checks {
		if ch.Level == failed {
			bad++
		}
	}
	if c.Bool("json") {
		if err := p.printJSON(map[string]any{"ok": bad == 0, "checks": checks}); err != nil {
			return err
		}
	} else if err := p.printChecks(checks); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("modelfs cannot run here: %s", plural(bad, "check")+" failed")
	}
	return nil
}

func (p *program) printChecks(checks []check) error {
	var b strings.Builder
	for _, c := range checks {
		fmt.Fprintf(&b, "%-9s %-14s %s\n", c.Level, c.Name, printable(c.Found))
		if c.Hint != "" {
			fmt.Fprintf(&b, "%24s → %s\n", "", c.Hint)
		}
	}
	_, err := fmt.Fprint(p.stdout, b.String())
	return err
}

// diagnose judges what was found. It looks at nothing itself.
func diagnose(f facts) []check {
	checks := []check{
		checkKernel(f), checkDevice(f), checkPrivilege(f), checkHelper(f), checkPassthrough(f),
		checkHugePages(f), checkNoSwap(f), checkLeases(f), checkMemory(f), checkOthers(f),
	}
	return append(checks, checkMounts(f)...)
}

func checkKernel(f facts) check {
	c := check{Name: "kernel", Level: works, Found: f.release}
	if !f.kernel.atLeast(6, 9) {
		c.Level = degraded
		c.Hint = "6.9 and later have FUSE passthrough; before, reads go through the daemon's page cache"
	}
	if !f.kernel.atLeast(5, 4) {
		c.Level, c.Hint = failed, "modelfs needs 5.4 or later (pidfd, FUSE 7.31)"
	}
	return c
}

func checkDevice(f facts) check {
	c := check{Name: "/dev/fuse", Level: works, Found: f.deviceMode}
	switch {
	case f.device == nil:
	case errors.Is(f.device, errNoDevice):
		c.Level, c.Found = failed, "is not there"
		c.Hint = "load the module: modprobe fuse; in a container: docker run --device /dev/fuse"
	default:
		c.Level, c.Found = failed, strings.TrimSpace(f.deviceMode+" "+f.device.Error())
		c.Hint = "the device must be open to you (-rw-rw-rw-), and the container's device cgroup must allow it: docker run --device /dev/fuse"
	}
	return c
}

func checkPrivilege(f facts) check {
	c := check{Name: "privilege", Level: works, Found: fmt.Sprintf("uid %d", f.euid)}
	switch {
	case f.sysAdmin && f.initialNamespace:
		c.Found += ", CAP_SYS_ADMIN"
	case f.sysAdmin:
		c.Level = degraded
		c.Found += ", CAP_SYS_ADMIN in a user namespace only"
		c.Hint = "passthrough needs it in the initial one: mount on the host, and bind the mount into the container"
	default:
		c.Level = degraded
		c.Found += ", no CAP_SYS_ADMIN"
		c.Hint = "the same tree works by the page cache of FUSE, slower; for passthrough and huge pages run mount as root (packaging/modelfs@.service)"
	}
	return c
}

func checkHelper(f facts) check {
	c := check{Name: "fusermount3", Level: works, Found: f.fusermount}
	if f.fusermount != "" {
		if !f.fusermountSetuid && !f.sysAdmin {
			c.Level, c.Hint = failed, "it is not setuid root, so it cannot mount for you: chmod u+s "+f.fusermount
		}
		return c
	}
	c.Found = "not installed"
	if f.sysAdmin {
		c.Found += ", root needs none"
		return c
	}
	c.Level, c.Hint = failed, "without root it makes the mount: apt install fuse3, or dnf install fuse3"
	return c
}

func checkPassthrough(f facts) check {
	c := check{Name: "passthrough", Level: works, Found: "kernel and privilege are there; each mount probes it (modelfs status)"}
	switch {
	case !f.kernel.atLeast(6, 9):
		c.Level, c.Found, c.Hint = degraded, "this kernel has none", "use 6.9 or later"
	case f.passthroughConfig == "n":
		c.Level, c.Found, c.Hint = degraded, "the kernel was built without CONFIG_FUSE_PASSTHROUGH", "use a kernel that has it"
	case !f.sysAdmin || !f.initialNamespace:
		c.Level, c.Found, c.Hint = degraded, "not allowed: it needs CAP_SYS_ADMIN", "run mount as root"
	}
	return c
}

func checkHugePages(f facts) check {
	c := check{Name: "huge pages", Level: works, Found: "a tmpfs of one's own gets them (huge=within_size)"}
	switch {
	case f.shmemEnabled == "deny":
		c.Level, c.Found = degraded, "denied by /sys/kernel/mm/transparent_hugepage/shmem_enabled"
		c.Hint = "echo never >/sys/kernel/mm/transparent_hugepage/shmem_enabled (never leaves it to each tmpfs)"
	case !f.sysAdmin:
		c.Level, c.Found = degraded, "without root there is no tmpfs of one's own; memory files get them as shmem_enabled says: "+orNone(f.shmemEnabled)
		c.Hint = "run mount as root, or: echo advise >/sys/kernel/mm/transparent_hugepage/shmem_enabled"
	case f.hugeTmpfs != nil:
		c.Level, c.Found = degraded, "mount of a tmpfs with huge=within_size: "+f.hugeTmpfs.Error()
		c.Hint = "use a kernel with CONFIG_TRANSPARENT_HUGEPAGE; in a container allow mount(2)"
	}
	return c
}

func checkNoSwap(f facts) check {
	c := check{Name: "swap", Level: works, Found: "models are kept out of it (noswap)"}
	switch {
	case f.swapTotal == 0:
		c.Found = "there is none"
	case !f.sysAdmin || f.noSwapTmpfs != nil:
		c.Level, c.Found = degraded, fmt.Sprintf("%s of swap, and models may go there", humanSize(f.swapTotal))
		c.Hint = "noswap needs root and kernel 6.4 or later"
	}
	return c
}

func checkLeases(f facts) check {
	c := check{Name: "file leases", Level: works, Found: "on"}
	if f.leases != "1" {
		c.Level, c.Found = degraded, "off: whether a model is mapped cannot be told, so a model that was used with passthrough is never evicted"
		c.Hint = "sysctl fs.leases-enable=1"
	}
	return c
}

func checkMemory(f facts) check {
	c := check{Name: "memory", Level: works}
	if f.memoryError != nil {
		return check{"memory", degraded, f.memoryError.Error(), "say --memory at each mount"}
	}
	c.Found = humanSize(f.memory.available) + " available"
	if f.memory.limited >= 0 {
		c.Found += fmt.Sprintf(", %s left in the cgroup %s", humanSize(f.memory.limited), f.memory.cgroup)
	}
	c.Found += fmt.Sprintf("; a mount takes up to %s unless told", humanSize(f.memory.least()/2))
	if f.memory.least() < 512<<20 {
		c.Level, c.Hint = degraded, "little for models: free some, raise the cgroup's memory.max, or load small ones only"
	}
	return c
}

func checkOthers(f facts) check {
	c := check{Name: "allow-other", Level: works, Found: "root may always"}
	if f.euid == 0 {
		return c
	}
	c.Found = "user_allow_other is set in /etc/fuse.conf"
	if !f.userAllowOther {
		c.Level, c.Found = degraded, "user_allow_other is not set in /etc/fuse.conf"
		c.Hint = "only you can use what you mount; for --allow-other root adds the line user_allow_other"
	}
	return c
}

func checkMounts(f facts) []check {
	var out []check
	for _, m := range f.mounts {
		c := check{Name: "mount", Level: works, Found: m.point + " answers"}
		switch {
		case m.stale:
			c.Level, c.Found = degraded, m.point+" is left from a daemon that died"
			c.Hint = "modelfs umount " + m.point
		case m.hangs:
			c.Level, c.Found = degraded, m.point+" does not answer"
			c.Hint = "look at the daemon's log; modelfs umount " + m.point + " takes the mount away"
		case m.status != nil && m.status.DataPath.Passthrough:
			c.Found += ", passthrough on"
		case m.status != nil:
			c.Level = degraded
			c.Found += ", passthrough off"
			if reason := m.status.DataPath.Reason; reason != "" {
				c.Found += ": " + reason
			}
			c.Hint = "modelfs mount --passthrough on refuses to go on without it"
		}
		out = append(out, c)
	}
	return out
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
