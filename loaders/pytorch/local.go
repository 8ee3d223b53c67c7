// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"github.com/modelfs/modelfs/loaders/malformed"
)

// locate goes through the members as they lie in the file, up to the directory, and
// finds where the content of each begins. What stands in front of and behind the
// content has to agree with the directory, and no two members may share a byte.
func (f *file) locate(members []member, directory int64) error {
	order := make([]int32, len(members))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(members[a].at, members[b].at) })
	end := int64(0)
	for _, i := range order {
		m := &members[i]
		if m.at < end {
			return malformed.At(format, m.entryAt, "the member %.100q begins at byte %d, within the one before it, which ends at byte %d", m.name, m.at, end)
		}
		f.gap(end, m.at)
		if err := f.local(m, directory); err != nil {
			return err
		}
		end = m.data + m.size
		if m.flags&flagDescriptor != 0 {
			n, err := f.descriptor(m, directory-end)
			if err != nil {
				return err
			}
			end += n
		}
	}
	f.gap(end, directory)
	return nil
}

func (f *file) gap(from, to int64) {
	if from < to {
		f.finding(from, "%d bytes of the archive belong to no member", to-from)
	}
}

// local checks a local header. Sizes and checksum are 0 in it if they follow the
// content.
func (f *file) local(m *member, directory int64) error {
	fail := func(msg string, args ...any) error {
		return malformed.At(format, m.at, "the local header of %.100q "+msg, append([]any{m.name}, args...)...)
	}
	if m.at+localSize > directory {
		return fail("goes into the directory")
	}
	b, err := f.window.bytes(m.at, localSize)
	if err != nil {
		return err
	}
	nName, nExtra := int64(le.Uint16(b[26:])), int64(le.Uint16(b[28:]))
	m.data = m.at + localSize + nName + nExtra
	if !bytes.HasPrefix(b, []byte(localSignature)) {
		return fail("is none: it begins with %q", b[:4])
	}
	if m.data > directory || m.size > directory-m.data {
		return fail("and %d bytes go into the directory", m.size)
	}
	if b, err = f.window.bytes(m.at, localSize+nName+nExtra); err != nil {
		return err
	}
	name, extra := b[localSize:localSize+nName], b[localSize+nName:]
	sizes := []uint64{uint64(le.Uint32(b[22:])), uint64(le.Uint32(b[18:]))}
	crc := le.Uint32(b[14:])
	switch {
	case string(name) != m.name:
		return fail("has the name %.100q", name)
	case le.Uint16(b[6:]) != m.flags:
		return fail("has the flags 0x%04x, the directory 0x%04x", le.Uint16(b[6:]), m.flags)
	case le.Uint16(b[8:]) != m.method:
		return fail("has the method %d, the directory %d", le.Uint16(b[8:]), m.method)
	case !widen(extra, sizes, false):
		return fail("has no sizes, or two")
	}
	later := m.flags&flagDescriptor != 0
	agrees := func(local, central uint64) bool { return local == central || later && local == 0 }
	if !agrees(uint64(crc), uint64(m.crc)) || !agrees(sizes[0], uint64(m.full)) || !agrees(sizes[1], uint64(m.size)) {
		return fail("says %d of %d bytes with the checksum %08x, the directory %d of %d with %08x", sizes[1], sizes[0], crc, m.size, m.full, m.crc)
	}
	return nil
}

// descriptor checks checksum and sizes behind a member's content, with sizes of 32
// or 64 bits, and returns how many bytes they take of those that are left.
func (f *file) descriptor(m *member, left int64) (int64, error) {
	const narrow, wide = 16, 24
	at := m.data + m.size
	b, err := f.window.bytes(at, min(wide, f.size-at))
	if err != nil {
		return 0, err
	}
	if left >= narrow && bytes.HasPrefix(b, []byte(descriptorSignature)) && le.Uint32(b[4:]) == m.crc {
		size, full := uint64(m.size), uint64(m.full)
		if left >= wide && le.Uint64(b[8:]) == size && le.Uint64(b[16:]) == full {
			return wide, nil
		}
		if size <= math.MaxUint32 && uint64(le.Uint32(b[8:])) == size && uint64(le.Uint32(b[12:])) == full {
			return narrow, nil
		}
	}
	return 0, malformed.At(format, at, "what follows the member %.100q does not give its %d bytes and checksum %08x", m.name, m.size, m.crc)
}
