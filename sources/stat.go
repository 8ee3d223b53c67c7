// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Generation tells contents of a file apart: what the filesystem changes when
// somebody writes. Times are nanoseconds since 1970. ctime is part of it because
// mtime can be set back.
type Generation struct {
	Dev, Ino     uint64
	Size         int64
	Mtime, Ctime int64
}

// Hash is a number that differs between generations; never 0.
func (g Generation) Hash() uint64 {
	var b [40]byte
	binary.LittleEndian.PutUint64(b[0:], g.Dev)
	binary.LittleEndian.PutUint64(b[8:], g.Ino)
	binary.LittleEndian.PutUint64(b[16:], uint64(g.Size))
	binary.LittleEndian.PutUint64(b[24:], uint64(g.Mtime))
	binary.LittleEndian.PutUint64(b[32:], uint64(g.Ctime))
	h := fnv.New64a()
	_, _ = h.Write(b[:])
	return max(h.Sum64(), 1)
}

// String is the hash in hexadecimal.
func (g Generation) String() string { return fmt.Sprintf("%016x", g.Hash()) }

// GenerationOf is that of an open file, now.
func GenerationOf(f *os.File) (Generation, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Generation{}, fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	return generation(&st), nil
}

func generation(st *unix.Stat_t) Generation {
	return Generation{
		Dev: uint64(st.Dev), Ino: st.Ino, Size: st.Size,
		Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(),
	}
}

// Stat is what is shown of a file or folder of a model.
type Stat struct {
	Folder bool
	// Mode holds the permission bits, less what the folders above deny.
	Mode       uint32
	Uid, Gid   uint32
	Size       int64
	Mtime      time.Time
	Generation Generation
}

func newStat(st *unix.Stat_t, r reach) Stat {
	return Stat{
		Folder: st.Mode&unix.S_IFMT == unix.S_IFDIR,
		Mode:   r.narrow(st),
		Uid:    st.Uid, Gid: st.Gid,
		Size:       st.Size,
		Mtime:      time.Unix(st.Mtim.Unix()),
		Generation: generation(st),
	}
}

// Entry is one name of a folder.
type Entry struct {
	Name   string
	Folder bool
	link   bool // reached through a symlink
}
