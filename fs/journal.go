// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// JournalFile is where a journal lies; *os.File is one.
type JournalFile interface {
	io.ReaderAt
	io.WriterAt
}

// journal gives out node ids and keeps what they stand for in a file that
// outlives the process, so that a later one which serves the same connection can
// resolve the ids that the kernel still holds.
//
// An id's lower half is the place of its record in the file, in units of 16
// bytes: resolving needs no index. A record is written before the kernel is told
// the id, and needs no other order: nobody asks for an id that was not given out.
//
//	file:   "modelfs nodes 1\n" record…
//	record: u64 parent id | u64 generation | u16 length | u8 folder | 5 zeros | name | zeros to 16
//
// Numbers are little-endian. The place of a forgotten node is used again for
// another of the same size, so that the file stays as large as the most nodes
// that the kernel ever held. A journal is guarded by table.mu.
//
// The alternative, a hash of the path as the id, cannot be turned back into a
// path; ids by counter need a log that is read and compacted.
type journal struct {
	prefix uint32
	file   JournalFile // nil: ids are given out, nothing is kept
	end    int64
	free   map[int64][]int64 // places by size, the first to be used first
}

const (
	journalMagic = "modelfs nodes 1\n"
	unit         = 16
	recordHeader = 24
)

func newJournal(prefix uint32, file JournalFile) (*journal, error) {
	j := &journal{prefix: prefix, file: file, end: unit, free: make(map[int64][]int64)}
	if file == nil {
		return j, nil
	}
	if _, err := file.WriteAt([]byte(journalMagic), 0); err != nil {
		return nil, fmt.Errorf("begin the journal of nodes: %w", err)
	}
	return j, nil
}

func recordSize(name string) int64 {
	return (recordHeader + int64(len(name)) + unit - 1) / unit * unit
}

// add gives a node an id. On an error the id is good, and only this process can
// resolve it.
func (j *journal) add(parent, generation uint64, folder bool, name string) (uint64, error) {
	size := recordSize(name)
	at := j.end
	if places := j.free[size]; len(places) > 0 {
		at = places[0]
		j.free[size] = places[1:]
	} else {
		j.end += size
	}
	id := uint64(j.prefix)<<32 | uint64(uint32(at/unit))
	if j.file == nil {
		return id, nil
	}
	r := make([]byte, size)
	binary.LittleEndian.PutUint64(r, parent)
	binary.LittleEndian.PutUint64(r[8:], generation)
	binary.LittleEndian.PutUint16(r[16:], uint16(len(name)))
	if folder {
		r[18] = 1
	}
	copy(r[recordHeader:], name)
	if _, err := j.file.WriteAt(r, at); err != nil {
		return id, fmt.Errorf("write the journal of nodes: %w", err)
	}
	return id, nil
}

// remove frees the place of a node that the kernel has forgotten.
func (j *journal) remove(id uint64, name string) {
	size := recordSize(name)
	j.free[size] = append(j.free[size], int64(uint32(id))*unit)
}

// ErrJournal says that a journal does not hold a node id.
var ErrJournal = errors.New("node id is not in the journal")

// Resolve reads from the journal of an earlier process what a node id stands for:
// the path below the mount, and the generation of the content.
func Resolve(file io.ReaderAt, prefix uint32, id uint64) (path string, generation uint64, err error) {
	magic := make([]byte, len(journalMagic))
	if _, err := file.ReadAt(magic, 0); err != nil || string(magic) != journalMagic {
		return "", 0, fmt.Errorf("no journal of nodes: %w", ErrJournal)
	}
	var parts []string
	for at := id; at != fuse.FUSE_ROOT_ID; {
		if uint32(at>>32) != prefix || len(parts) > 256 {
			return "", 0, fmt.Errorf("node %d: %w", id, ErrJournal)
		}
		h := make([]byte, recordHeader)
		place := int64(uint32(at)) * unit
		if _, err := file.ReadAt(h, place); err != nil {
			return "", 0, fmt.Errorf("node %d: %w", id, ErrJournal)
		}
		name := make([]byte, binary.LittleEndian.Uint16(h[16:]))
		if _, err := file.ReadAt(name, place+recordHeader); err != nil || len(name) == 0 {
			return "", 0, fmt.Errorf("node %d: %w", id, ErrJournal)
		}
		if at == id {
			generation = binary.LittleEndian.Uint64(h[8:])
		}
		parts = append(parts, string(name))
		at = binary.LittleEndian.Uint64(h)
	}
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, "/"), generation, nil
}
