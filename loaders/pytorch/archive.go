// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/modelfs/modelfs/loaders/malformed"
)

// archive lists the tensors of a zip archive. All that torch knows lies in one
// folder of it, that of the first member (caffe2/serialize/inline_container.cc).
func (f *file) archive() error {
	members, at, err := f.directory()
	if err != nil {
		return err
	}
	if err := f.locate(members, at); err != nil {
		return err
	}
	a := &contents{file: f, members: members, byName: make(map[string]int32, len(members)), storage: make([]*record, len(members))}
	if err := a.sort(); err != nil {
		return err
	}
	_, f.torchScript = a.find("constants.pkl")
	if err := a.byteOrder(); err != nil {
		return err
	}
	data, ok := a.find("data.pkl")
	if !ok {
		return malformed.At(format, at, "the archive has no %.100s: torch did not write it, or it is TorchScript of 2019 or before", a.folder+"data.pkl")
	}
	if err := a.object(data, "data/", ""); err != nil {
		return err
	}
	if constants, ok := a.find("constants.pkl"); ok {
		if err := a.object(constants, "constants/", "constants"); err != nil {
			return err
		}
	}
	a.others()
	f.unusedStorages()
	return nil
}

// contents are an archive's members by name.
type contents struct {
	*file
	folder  string // with its slash
	members []member
	byName  map[string]int32 // without regard to case, as torch looks them up
	storage []*record        // those that a pickle mentions, by the place of the member
}

// sort finds the folder, and members that are there twice.
func (a *contents) sort() error {
	if len(a.members) > 0 {
		first := a.members[0]
		folder, _, ok := strings.Cut(first.name, "/")
		if !ok {
			return malformed.At(format, first.entryAt, "the member %.100q lies in no folder", first.name)
		}
		a.folder = folder + "/"
	}
	for i, m := range a.members {
		name := strings.ToLower(m.name)
		if _, twice := a.byName[name]; twice {
			return malformed.At(format, m.entryAt, "the member %.100q is there twice", m.name)
		}
		a.byName[name] = int32(i)
	}
	return nil
}

// find returns a member of the folder.
func (a *contents) find(name string) (*member, bool) {
	if i := a.place(name); i >= 0 {
		return &a.members[i], true
	}
	return nil, false
}

// place is that of a member of the folder, or -1.
func (a *contents) place(name string) int {
	name = a.folder + name
	i, ok := a.byName[strings.ToLower(name)]
	if !ok || a.members[i].name != name {
		return -1
	}
	return int(i)
}

// plain is an error for a member that is to be read and is compressed.
func plain(m *member) error {
	if m.method != stored {
		return malformed.At(format, m.data, "the member %.100q is compressed, which torch does not do", m.name)
	}
	return nil
}

// byteOrder reads whose numbers the storages are: little-endian if nothing is said.
func (a *contents) byteOrder() error {
	m, ok := a.find("byteorder")
	if !ok {
		return nil
	}
	if err := plain(m); err != nil {
		return err
	}
	b, err := a.window.bytes(m.data, min(m.size, 16))
	if err != nil {
		return err
	}
	switch string(b) {
	case "little":
	case "big":
		a.big = true
	default:
		return malformed.At(format, m.data, "the byte order is %q, neither little nor big", b)
	}
	return nil
}

// object reads a pickle whose storages lie in a folder, and names its tensors.
func (a *contents) object(m *member, storages string, prefix string) error {
	if err := plain(m); err != nil {
		return err
	}
	if m.size > maxPickle {
		return malformed.At(format, m.data, "the pickle %.100q has %d bytes, over the limit of %d", m.name, m.size, maxPickle)
	}
	if err := a.checksum(m); err != nil {
		return err
	}
	load := func(m *machine, id []value) (value, error) {
		if len(id) != 5 {
			return nil, m.errorf("a persistent id of %d parts", len(id))
		}
		return m.storage(id, func(key string, size int64) (*record, error) {
			return a.record(m, storages+key, size)
		})
	}
	end := m.data + m.size
	root, after, err := a.pickle(m.data, end, load)
	if err != nil {
		return err
	}
	if after < end {
		a.finding(after, "%d bytes follow the pickle %.100q", end-after, m.name)
	}
	return a.nameTensors(root, m.data, m.size, prefix)
}

// record returns where a storage's bytes lie, of which there have to be size.
func (a *contents) record(m *machine, name string, size int64) (*record, error) {
	i := a.place(name)
	if i < 0 {
		return nil, m.errorf("the archive has no storage %.100q", name)
	}
	r := a.storage[i]
	if r == nil {
		in := &a.members[i]
		if err := plain(in); err != nil {
			return nil, err
		}
		if err := m.charge(costRecord); err != nil {
			return nil, err
		}
		r = &record{key: in.name[len(a.folder):], at: in.data, size: in.size}
		a.storage[i] = r
		a.records = append(a.records, r)
	}
	if size > r.size {
		return nil, m.errorf("the storage %.100q has %d bytes here and %d in the archive", name, size, r.size)
	}
	return r, nil
}

// checksum compares a member's content with its checksum.
func (a *contents) checksum(m *member) error {
	sum := crc32.NewIEEE()
	buf := make([]byte, min(64<<10, m.size))
	for at, end := m.data, m.data+m.size; at < end; {
		b := buf[:min(int64(len(buf)), end-at)]
		n, err := a.window.r.ReadAt(b, at)
		if n < len(b) {
			if err == nil || errors.Is(err, io.EOF) {
				return malformed.At(format, at+int64(n), "the file ends here, %d bytes early", end-at-int64(n))
			}
			return fmt.Errorf("read at byte %d: %w", at, err)
		}
		sum.Write(b)
		at += int64(n)
	}
	if sum.Sum32() != m.crc {
		return malformed.At(format, m.data, "the checksum of %.100q is %08x, its content has %08x", m.name, m.crc, sum.Sum32())
	}
	return nil
}

// own are the members that torch writes beside pickles and storages.
var own = map[string]bool{
	"data.pkl": true, "constants.pkl": true, "version": true, "byteorder": true,
	".format_version": true, ".storage_alignment": true, ".data/serialization_id": true,
}

// others notes members that are not read: what they hold is not known. TorchScript's
// code gets one finding for all.
func (a *contents) others() {
	code := false
	for i := range a.members {
		m := &a.members[i]
		name, inside := strings.CutPrefix(m.name, a.folder)
		switch {
		case m.size == 0 && strings.HasSuffix(m.name, "/"): // a folder
		case inside && (own[name] || a.storage[i] != nil):
		case inside && strings.HasPrefix(name, "data/"), inside && a.torchScript && strings.HasPrefix(name, "constants/"):
			a.finding(m.at, "the storage %.100q of %d bytes is no tensor's", name, m.size)
		case inside && a.torchScript && strings.HasPrefix(name, "code/"):
			if !code {
				a.finding(m.at, "TorchScript: the code in %.100q is not looked at", a.folder+"code/")
			}
			code = true
		default:
			a.finding(m.at, "the member %.100q is none of PyTorch's and is not looked at", m.name)
		}
	}
}
