// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// mount(8) runs a helper for a line of /etc/fstab such as
//
//	/srv/models  /mnt/models  modelfs  memory=8GiB,allow_other,_netdev  0 0
//
// as `mount.modelfs SPEC MOUNT -o OPTIONS`, or, when the type is fuse.modelfs,
// by way of mount.fuse3 as `modelfs SPEC MOUNT -o OPTIONS`.

// mountHelperArguments rewrites such a command line as one of `modelfs mount`;
// any other comes back as it is.
func mountHelperArguments(args []string) ([]string, error) {
	if len(args) == 0 {
		return []string{"modelfs"}, nil
	}
	helper := filepath.Base(args[0]) == "mount.modelfs"
	if !helper && !(len(args) > 3 && args[3] == "-o" && strings.HasPrefix(args[2], "/")) {
		return args, nil
	}
	h := mountHelper{}
	if err := h.parse(args[1:]); err != nil {
		return nil, err
	}
	return h.arguments()
}

// mountHelper is the command line of a helper of mount(8).
type mountHelper struct {
	positional []string
	options    []string
	sloppy     bool // -s: unknown options are ignored
	fake       bool // -f: do nothing
}

func (h *mountHelper) parse(args []string) error {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "-o" || arg == "-t" || arg == "-N":
			if i++; i >= len(args) {
				return usagef("mount.modelfs: %s needs a value", arg)
			}
			if arg == "-o" {
				h.options = append(h.options, splitOptions(args[i])...)
			}
		case len(arg) > 1 && arg[0] == '-':
			for _, letter := range arg[1:] {
				switch letter {
				case 's':
					h.sloppy = true
				case 'f':
					h.fake = true
				case 'n', 'v', 'r', 'w':
				default:
					return usagef("mount.modelfs: unknown flag -%c; usage: mount.modelfs SPEC MOUNT [-o OPTIONS]", letter)
				}
			}
		default:
			h.positional = append(h.positional, arg)
		}
	}
	if len(h.positional) != 2 {
		return usagef("mount.modelfs SPEC MOUNT [-o OPTIONS]: got %s", plural(len(h.positional), "argument"))
	}
	return nil
}

// splitOptions cuts at commas but for those that a backslash precedes.
func splitOptions(text string) []string {
	var out []string
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && (text[i+1] == ',' || text[i+1] == '\\'):
			i++
			b.WriteByte(text[i])
		case text[i] == ',':
			out = append(out, b.String())
			b.Reset()
		default:
			b.WriteByte(text[i])
		}
	}
	return append(out, b.String())
}

// The options of mount(8) that say nothing to a filesystem in user space, or
// that its mounts have anyhow.
var genericOptions = []string{
	"defaults", "rw", "ro", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev",
	"exec", "noexec", "dev", "nodev", "suid", "nosuid", "sync", "async", "dirsync", "silent", "loud",
	"atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime",
	"mand", "nomand", "iversion", "noiversion", "default_permissions",
}

func generic(option string) bool {
	return option == "" || slices.Contains(genericOptions, option) || strings.HasPrefix(option, "x-") ||
		strings.HasPrefix(option, "X-") || strings.HasPrefix(option, "comment=") || strings.HasPrefix(option, "helper=")
}

// arguments spells it as a command line of `modelfs mount`, in the background.
func (h *mountHelper) arguments() ([]string, error) {
	out := []string{"modelfs", "mount", "--daemon"}
	if h.fake {
		return []string{"modelfs", "version"}, nil
	}
	if spec := h.positional[0]; spec != "none" && spec != "modelfs" && spec != "-" {
		out = append(out, "--models="+spec)
	}
	valued, plain := helperFlags()
	for _, option := range h.options {
		name, value, hasValue := strings.Cut(option, "=")
		flag := strings.ReplaceAll(name, "_", "-")
		switch {
		case hasValue && slices.Contains(valued, flag):
			out = append(out, "--"+flag+"="+value)
		case !hasValue && slices.Contains(plain, flag):
			out = append(out, "--"+flag)
		case generic(option), h.sloppy:
		case slices.Contains(valued, flag):
			return nil, usagef("mount option %s needs a value: %s=…", name, name)
		case slices.Contains(plain, flag):
			return nil, usagef("mount option %s takes no value", name)
		default:
			if near := nearest(flag, append(valued, plain...)); near != "" {
				return nil, usagef("unknown mount option %q: did you mean %s?", name, strings.ReplaceAll(near, "-", "_"))
			}
			return nil, usagef("unknown mount option %q (the options are the flags of `modelfs mount`)", name)
		}
	}
	return append(out, "--", h.positional[1]), nil
}

// helperFlags are the flags of mount that are mount options too.
func helperFlags() (valued, plain []string) {
	for _, f := range mountFlags() {
		name := f.Names()[0]
		switch {
		case name == "daemon" || name == "ready-fd":
		case takesNext([]cli.Flag{f}, "--"+name):
			valued = append(valued, name)
		default:
			plain = append(plain, name)
		}
	}
	return valued, plain
}
