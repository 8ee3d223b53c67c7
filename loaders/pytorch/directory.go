// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/modelfs/modelfs/loaders/internal/cursor"
	"github.com/modelfs/modelfs/loaders/malformed"
)

// The records of a zip archive (PKWARE's APPNOTE.TXT 6.3.10, section 4.3), and their
// sizes in bytes.
const (
	localSignature      = "PK\x03\x04"
	descriptorSignature = "PK\x07\x08"
	entrySignature      = "PK\x01\x02"
	end64Signature      = "PK\x06\x06"
	locatorSignature    = "PK\x06\x07"
	endSignature        = "PK\x05\x06"

	localSize   = 30
	entrySize   = 46
	end64Size   = 56
	locatorSize = 20
	endSize     = 22
)

// Flags of a member. Bits 1 and 2 say how well it is compressed, 3 that sizes and
// checksum follow it, 11 that its name is UTF-8.
const (
	flagDescriptor = 1 << 3
	flagsKnown     = 1<<1 | 1<<2 | 1<<3 | 1<<11
	flagsEncrypted = 1<<0 | 1<<6 | 1<<13
)

const (
	stored   = 0
	deflated = 8
)

// zip64 is the number of a member's extra field with sizes of 64 bits.
const zip64 = 1

// costMember is what a member takes in memory, with its place in the map of names,
// its name apart.
const costMember = 144

// member is an entry of the directory.
type member struct {
	name    string // as it is in the archive
	entryAt int64  // of its entry
	at      int64  // of its local header
	data    int64  // of its content
	size    int64  // of its content as it lies there
	full    int64  // without compression
	crc     uint32
	method  uint16
	flags   uint16
}

var le = binary.LittleEndian

// directory reads the directory of the archive that the file is: to its last byte,
// without a comment. Nothing of it is taken on trust: its size and place, its number
// of entries and the bytes that follow it fit exactly.
func (f *file) directory() (members []member, at int64, err error) {
	at, size, n, err := f.directoryEnd()
	if err != nil {
		return nil, 0, err
	}
	c := cursor.New(format, f.window.r, at+size)
	if err := c.Skip(uint64(at)); err != nil {
		return nil, 0, err
	}
	for range n {
		m, err := f.entry(c, at)
		if err != nil {
			return nil, 0, err
		}
		if len(members) == cap(members) {
			members = append(make([]member, 0, max(16, min(2*len(members), int(n)))), members...)
		}
		members = append(members, m)
	}
	if c.Left() != 0 {
		return nil, 0, c.Errorf("%d bytes follow the last entry of the archive's directory", c.Left())
	}
	return members, at, nil
}

// directoryEnd reads what follows the directory: where it begins, its size, and how
// many entries it has.
func (f *file) directoryEnd() (at, size int64, n uint64, err error) {
	end := f.size - endSize
	if end < 0 {
		return 0, 0, 0, malformed.At(format, f.size, "an archive of %d bytes", f.size)
	}
	from := max(0, end-locatorSize-end64Size)
	tail, err := f.window.bytes(from, f.size-from)
	if err != nil {
		return 0, 0, 0, err
	}
	b := tail[len(tail)-endSize:]
	if !bytes.HasPrefix(b, []byte(endSignature)) || le.Uint16(b[20:]) != 0 {
		return 0, 0, 0, malformed.At(format, end, "the archive does not end in its directory: it is cut off, or something follows")
	}
	total := uint64(le.Uint16(b[10:]))
	length, offset := uint64(le.Uint32(b[12:])), uint64(le.Uint32(b[16:]))
	if le.Uint32(b[4:]) != 0 || le.Uint16(b[8:]) != le.Uint16(b[10:]) {
		return 0, 0, 0, malformed.At(format, end, "the archive has several parts")
	}
	if b := tail[:len(tail)-endSize]; len(b) == end64Size+locatorSize && bytes.HasPrefix(b[end64Size:], []byte(locatorSignature)) {
		end = from
		if total, length, offset, err = directoryEnd64(b, from, total, length, offset); err != nil {
			return 0, 0, 0, err
		}
	}
	if offset > uint64(end) || length != uint64(end)-offset {
		return 0, 0, 0, malformed.At(format, end, "a directory of %d bytes at byte %d does not end here", length, offset)
	}
	if total > length/entrySize {
		return 0, 0, 0, malformed.At(format, end, "%d entries do not fit into a directory of %d bytes", total, length)
	}
	return int64(offset), int64(length), total, nil
}

// directoryEnd64 reads the form of 64 bits, which has to agree with the other one
// where that one says anything.
func directoryEnd64(b []byte, at int64, n16, length32, offset32 uint64) (n, length, offset uint64, err error) {
	if !bytes.HasPrefix(b, []byte(end64Signature)) || le.Uint64(b[4:]) != end64Size-12 ||
		le.Uint64(b[end64Size+8:]) != uint64(at) || le.Uint32(b[end64Size+4:]) != 0 || le.Uint32(b[end64Size+16:]) > 1 {
		return 0, 0, 0, malformed.At(format, at, "the ZIP64 end of the directory is not where it is said to be")
	}
	if le.Uint32(b[16:]) != 0 || le.Uint32(b[20:]) != 0 || le.Uint64(b[24:]) != le.Uint64(b[32:]) {
		return 0, 0, 0, malformed.At(format, at, "the archive has several parts")
	}
	n, length, offset = le.Uint64(b[32:]), le.Uint64(b[40:]), le.Uint64(b[48:])
	if n16 != math.MaxUint16 && n16 != n || length32 != math.MaxUint32 && length32 != length || offset32 != math.MaxUint32 && offset32 != offset {
		return 0, 0, 0, malformed.At(format, at, "the two ends of the directory disagree")
	}
	return n, length, offset, nil
}

// entry reads an entry of the directory, which begins at begin: members lie before
// it.
func (f *file) entry(c *cursor.Cursor, begin int64) (member, error) {
	m := member{entryAt: c.Pos()}
	b, err := c.Bytes(entrySize, entrySize)
	if err != nil {
		return m, err
	}
	if !bytes.HasPrefix(b, []byte(entrySignature)) {
		return m, malformed.At(format, m.entryAt, "no entry of the archive's directory: it begins with %q", b[:4])
	}
	m.flags, m.method, m.crc = le.Uint16(b[8:]), le.Uint16(b[10:]), le.Uint32(b[16:])
	sizes := []uint64{uint64(le.Uint32(b[24:])), uint64(le.Uint32(b[20:])), uint64(le.Uint32(b[42:]))}
	nName, nExtra, nComment := le.Uint16(b[28:]), le.Uint16(b[30:]), le.Uint16(b[32:])
	disk := le.Uint16(b[34:])
	if err := f.charge(m.entryAt, costMember+int64(nName)); err != nil {
		return m, err
	}
	name, err := c.Bytes(uint64(nName), math.MaxUint16)
	if err != nil {
		return m, err
	}
	m.name = string(name)
	extra, err := c.Bytes(uint64(nExtra), math.MaxUint16)
	if err != nil {
		return m, err
	}
	if err := c.Skip(uint64(nComment)); err != nil {
		return m, err
	}
	fail := func(msg string, args ...any) (member, error) {
		return m, malformed.At(format, m.entryAt, "the member %.100q "+msg, append([]any{m.name}, args...)...)
	}
	switch {
	case !isPath(m.name):
		return fail("has a name that is no path in an archive")
	case disk != 0:
		return fail("is in another part of the archive")
	case m.flags&flagsEncrypted != 0:
		return fail("is encrypted")
	case m.flags&^flagsKnown != 0:
		return fail("has the flags 0x%04x, of which 0x%04x are unknown", m.flags, m.flags&^flagsKnown)
	case !widen(extra, sizes, true):
		return fail("has no sizes, or two")
	}
	full, size, at := sizes[0], sizes[1], sizes[2]
	switch {
	case at > uint64(begin) || size > uint64(begin)-at:
		return fail("of %d bytes begins at byte %d: the directory begins at byte %d", size, at, begin)
	case m.method == stored && full != size:
		return fail("is stored in %d bytes and has %d", size, full)
	case full > math.MaxInt64:
		return fail("has %d bytes", full)
	}
	m.full, m.size, m.at = int64(full), int64(size), int64(at)
	return m, nil
}

// isPath says whether a name is a path as archives have it, and no way out of one.
func isPath(name string) bool {
	if !utf8.ValidString(name) || strings.ContainsAny(name, "\x00\\") {
		return false
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(name, "/"), "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// widen replaces those sizes that do not fit into 32 bits by those of the extra
// field, in their order. exact: there have to be as many as are needed; else there
// may be more.
func widen(extra []byte, sizes []uint64, exact bool) bool {
	var wide []byte
	found := false
	for len(extra) > 0 {
		if len(extra) < 4 {
			return false
		}
		id, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		if n > len(extra)-4 || id == zip64 && found {
			return false
		}
		if id == zip64 {
			wide, found = extra[4:4+n], true
		}
		extra = extra[4+n:]
	}
	for i := range sizes {
		if sizes[i] != math.MaxUint32 {
			continue
		}
		if len(wide) < 8 {
			return false
		}
		sizes[i], wide = le.Uint64(wide), wide[8:]
	}
	return !exact || len(wide) == 0
}
