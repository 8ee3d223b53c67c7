// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package arena

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Memfds makes anonymous files. They are sealed against shrinking and growing: a
// handler that has one cannot take memory from under this process.
func Memfds() Maker {
	return func(size int64) (*os.File, error) {
		fd, err := memfd()
		if err != nil {
			return nil, fmt.Errorf("memfd_create: %w", err)
		}
		f := os.NewFile(uintptr(fd), "memfd:modelfs-arena")
		if err := f.Truncate(size); err != nil {
			f.Close()
			return nil, err
		}
		if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
			f.Close()
			return nil, fmt.Errorf("seal a memfd: %w", err)
		}
		return f, nil
	}
}

// memfd makes one that can be sealed. Kernels from 6.3 on want to hear that nothing in
// it is executed, older ones refuse the flag.
func memfd() (int, error) {
	const name, flags = "modelfs-arena", unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, flags)
	}
	return fd, err
}
