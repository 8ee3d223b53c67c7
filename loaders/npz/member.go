// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package npz

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/loaders/npy"
)

// member is a file of the archive. Those that are deflated are the Makers of their
// arrays.
type member struct {
	name     string
	deflated bool
	at       int64 // of its bytes in the file
	packed   int64 // how many they are
	size     int64 // and inflated
	crc      uint32
	header   npy.Header // of a deflated array: Data counts from the member's start
}

// wrong is an error of an array's, with the member's name. Its place in inflated
// bytes is none in the file: there it is the member's.
func (m *member) wrong(err error) error {
	var w *malformed.Error
	if !errors.As(err, &w) {
		return err
	}
	at, text := w.Offset, w.Msg
	if m.deflated {
		at, text = m.at, fmt.Sprintf("at byte %d of it, inflated: %s", w.Offset, w.Msg)
	}
	named := malformed.At(format, at, "the member %.100q: %s", m.name, text)
	if unfit := (npy.Unfit{}); errors.As(err, &unfit) {
		return npy.Unfit{Err: named}
	}
	return named
}

// Numbers of the zip format (APPNOTE.TXT 4.3.7, 4.4.4).
const (
	localSize   = 30
	encrypted   = 1 << 0 // flags: nobody can read it in place
	sizesBehind = 1 << 3 // the sizes follow the data
)

// maxExtra is how far the fields behind a member's name are looked through.
const maxExtra = 4 << 10

// maxRatio is what a byte can inflate to at the most: two bits give 258 bytes.
const maxRatio = 1032

// locate finds a member's bytes.
func (a *reading) locate(f *zip.File) (member, error) {
	at, err := f.DataOffset()
	if err != nil {
		return member{}, malformed.At(format, a.size, "the member %.100q: %v", f.Name, err)
	}
	local := a.r.last // DataOffset reads there
	switch packed := f.CompressedSize64; {
	case at > a.size:
		return member{}, malformed.At(format, a.size, "the member %.100q begins at byte %d, the file ends here", f.Name, at)
	case packed > uint64(a.size-at):
		return member{}, malformed.At(format, at, "the member %.100q has %d bytes, %d are left", f.Name, packed, a.size-at)
	}
	m := member{name: f.Name, at: at, packed: int64(f.CompressedSize64), crc: f.CRC32}
	return m, a.sameAsLocal(f, local, at)
}

// readable checks that a member's bytes can be read, and says how.
func (m *member) readable(f *zip.File) error {
	fail := func(msg string, args ...any) error {
		return malformed.At(format, m.at, "the member %.100q "+msg, append([]any{m.name}, args...)...)
	}
	m.deflated = f.Method == zip.Deflate
	packed, size := f.CompressedSize64, f.UncompressedSize64
	switch {
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return fail("is compressed by method %d; %d (stored) and %d (deflated) are read", f.Method, zip.Store, zip.Deflate)
	case f.Flags&encrypted != 0:
		return fail("is encrypted")
	case !m.deflated && packed != size:
		return fail("is stored in %d bytes and has %d", packed, size)
	case m.deflated && (size > math.MaxInt64 || size > 0 && (size-1)/maxRatio >= packed):
		return fail("claims to inflate from %d to %d bytes, over %d times as many", packed, size, maxRatio)
	}
	m.size = int64(size)
	return nil
}

// sameAsLocal checks that the header before a member's bytes says the same as the
// archive's directory: programs that read one or the other find the same.
func (a *reading) sameAsLocal(f *zip.File, local, at int64) error {
	n := min(at-local, localSize+int64(len(f.Name))+maxExtra)
	if int64(cap(a.scratch)) < n {
		a.scratch = make([]byte, n)
	}
	b := a.scratch[:n]
	if got, err := a.r.ReadAt(b, local); got < len(b) {
		return malformed.At(format, local, "the member %.100q: its header: %v", f.Name, err)
	}
	differs := func(what string, here, there any) error {
		return malformed.At(format, local, "the member %.100q: its %s is %v in its own header and %v in the archive's directory", f.Name, what, here, there)
	}
	flags, method := binary.LittleEndian.Uint16(b[6:]), binary.LittleEndian.Uint16(b[8:])
	name, rest := int(binary.LittleEndian.Uint16(b[26:])), b[localSize:]
	if name != len(f.Name) || name > len(rest) || string(rest[:name]) != f.Name {
		return malformed.At(format, local, "the member %.100q has another name in its own header", f.Name)
	}
	_, renamed := field(rest[name:], unicodeField)
	_, renamedThere := field(f.Extra, unicodeField)
	switch {
	case renamed || renamedThere:
		return malformed.At(format, local, "the member %.100q has a second name, in a field for Unicode paths", f.Name)
	case method != f.Method:
		return differs("method", method, f.Method)
	case flags&encrypted != f.Flags&encrypted:
		return differs("encryption", flags&encrypted, f.Flags&encrypted)
	case flags&sizesBehind != 0:
		return nil
	}
	packed, size, ok := localSizes(b, rest[name:])
	switch {
	case !ok:
		return malformed.At(format, local, "the member %.100q: its own header has no sizes", f.Name)
	case packed != f.CompressedSize64:
		return differs("stored size", packed, f.CompressedSize64)
	case size != f.UncompressedSize64:
		return differs("size", size, f.UncompressedSize64)
	}
	return nil
}

// Fields of the extra bytes behind a member's name (APPNOTE.TXT 4.5.3, 4.6.9).
const (
	zip64Field   = 0x0001
	unicodeField = 0x7075 // another name for the member, which some readers take
)

// field finds one of the extra fields.
func field(extra []byte, id uint16) (data []byte, ok bool) {
	for len(extra) >= 4 {
		n := int(binary.LittleEndian.Uint16(extra[2:]))
		if n > len(extra)-4 {
			break
		}
		if binary.LittleEndian.Uint16(extra) == id {
			return extra[4 : 4+n], true
		}
		extra = extra[4+n:]
	}
	return nil, false
}

// localSizes are a local header's: large ones are in an extra field, the inflated
// size before the stored one.
func localSizes(b, extra []byte) (packed, size uint64, ok bool) {
	packed, size = uint64(binary.LittleEndian.Uint32(b[18:])), uint64(binary.LittleEndian.Uint32(b[22:]))
	if packed != math.MaxUint32 && size != math.MaxUint32 {
		return packed, size, true
	}
	large, ok := field(extra, zip64Field)
	if !ok {
		return 0, 0, false
	}
	for _, v := range []*uint64{&size, &packed} {
		if *v != math.MaxUint32 {
			continue
		}
		if len(large) < 8 {
			return 0, 0, false
		}
		*v, large = binary.LittleEndian.Uint64(large), large[8:]
	}
	return packed, size, true
}
