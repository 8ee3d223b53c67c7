// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package caller

import (
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxGroups is the kernel's NGROUPS_MAX.
const maxGroups = 65536

// kernelPeer asks the kernel who connected a Unix socket.
func kernelPeer(fd int) (User, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return User{}, err
	}
	groups, err := peerGroups(fd)
	return User{Uid: cred.Uid, Gid: cred.Gid, Groups: groups}, err
}

// peerGroups asks for the supplementary groups. x/sys has no getsockopt for an option
// of any length (the one for strings ends at a zero byte).
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups)) * 4
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(unsafe.SliceData(groups))), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == unix.ERANGE && size > uint32(len(groups))*4 && size <= maxGroups*4:
			groups = make([]uint32, size/4) // the kernel says how many there are
		case errno != 0:
			return nil, errno
		default:
			return groups[:size/4], nil
		}
	}
}

// overflowUID is the uid that the kernel shows for everybody who has none in this user
// namespace; false in one where everybody has one, as in the first.
func overflowUID() (uint32, bool) {
	uids, err := os.ReadFile("/proc/self/uid_map")
	if err == nil && allMapped(string(uids)) {
		return 0, false
	}
	const usual = 65534
	text, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil {
		return usual, true
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return usual, true
	}
	return uint32(n), true
}

// allMapped says whether a uid_map (user_namespaces(7)) has every uid: "0 0 4294967295".
func allMapped(uids string) bool {
	fields := strings.Fields(uids)
	return len(fields) == 3 && fields[0] == "0" && fields[2] == "4294967295"
}
