// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"fmt"
	"strings"
)

const (
	maxPath = 4095 // bytes, the kernel's
	maxName = 255
	// reservedKey begins the names that Triton keeps for itself.
	reservedKey = "triton_python_backend_shm_region_"
)

type kind uint8

const (
	inMount kind = iota + 1
	inSharedMemory
)

// Place is where a file lies: a path below the mount, or a name in /dev/shm. It is made
// by MountPlace and SharedMemory, which check it; the zero Place is nowhere.
type Place struct {
	kind kind
	path string
}

// MountPlace is a path below the mount, of a file in sessions/ or tensors/. A path is
// taken as it is or refused, never cleaned: what two readers could read in two ways is
// nobody's name.
func MountPlace(path string) (Place, error) {
	if err := checkPath(path); err != nil {
		return Place{}, fmt.Errorf("%q: %w: %w", shorten(path), ErrPlace, err)
	}
	return Place{inMount, path}, nil
}

func checkPath(path string) error {
	if len(path) > maxPath {
		return fmt.Errorf("it has %d bytes", len(path))
	}
	parts := strings.Split(path, "/")
	for _, part := range parts {
		if err := checkName(part); err != nil {
			return err
		}
	}
	if first := parts[0]; first != "sessions" && first != "tensors" {
		return fmt.Errorf("it is not below sessions/ or tensors/")
	}
	if len(parts) < 3 {
		return fmt.Errorf("it names a folder: sessions/camera/frame is a file")
	}
	return nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("it has an empty part, or begins or ends with a slash")
	case name == "." || name == "..":
		return fmt.Errorf("it has a part %q", name)
	case len(name) > maxName:
		return fmt.Errorf("it has a part of %d bytes", len(name))
	case strings.IndexByte(name, 0) >= 0:
		return fmt.Errorf("it has a zero byte")
	}
	return nil
}

// SharedMemory is a name of POSIX shared memory, as shm_open takes it: one leading slash
// is no part of it. The error does not have the key.
func SharedMemory(key string) (Place, error) {
	name := strings.TrimPrefix(key, "/")
	err := checkName(name)
	switch {
	case err != nil:
	case strings.Contains(name, "/"):
		err = fmt.Errorf("it has more than one part")
	case strings.HasPrefix(name, reservedKey):
		err = fmt.Errorf("it is reserved")
	}
	if err != nil {
		// checkName shows at most dots.
		return Place{}, fmt.Errorf("key of shared memory: %w: %w", ErrPlace, err)
	}
	return Place{inSharedMemory, name}, nil
}

// String is the place in errors. Keys of shared memory are secrets of a kind: who knows
// one may know the other.
func (p Place) String() string {
	switch p.kind {
	case inMount:
		return shorten(p.path)
	case inSharedMemory:
		return "shared memory"
	}
	return "nowhere"
}

// shorten keeps what a caller sent from filling a log.
func shorten(s string) string {
	if len(s) > maxName {
		return s[:maxName] + "…"
	}
	return s
}
