// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"encoding/binary"
	"math/bits"
	"strconv"

	"github.com/modelfs/modelfs/loaders/malformed"
)

// record is where the bytes of a storage are: a member of the archive, or a piece
// of a legacy file.
type record struct {
	key   string
	at    int64  // in the file; -1 until a legacy file's storages are reached
	size  int64  // bytes; of a legacy file's, what the first reference says
	dtype *dtype // of the first reference; nil: there is none
	used  bool   // by a tensor
	last  *storage
}

// storage is a reference to a record.
type storage struct {
	rec   *record
	dtype *dtype
	from  int64 // byte in the record
	size  int64 // bytes
	meta  bool  // it was on the device meta: it has no bytes
}

// storage makes one of the parts of a persistent id: "storage", class, key,
// device, number of elements.
func (m *machine) storage(id []value, find func(key string, size int64) (*record, error)) (*storage, error) {
	if len(id) < 5 || id[0] != value(text("storage")) {
		return nil, m.errorf("a persistent id that is no storage's")
	}
	class, ok := id[1].(*global)
	if !ok || !class.storage {
		return nil, m.errorf("a storage is of the class %s, which is none of storages", describe(id[1]))
	}
	key := ""
	switch k := id[2].(type) {
	case text:
		key = string(k)
	case int64:
		key = strconv.FormatInt(k, 10)
	default:
		return nil, m.errorf("the key of a storage is %s", describe(id[2]))
	}
	numel, ok := id[4].(int64)
	if !ok || numel < 0 {
		return nil, m.errorf("the storage %.100q has no number of elements", key)
	}
	hi, size := bits.Mul64(uint64(numel), uint64(class.dtype.width))
	if hi != 0 || size > uint64(m.size) {
		return nil, m.errorf("the storage %.100q has %d elements of %s, the file has %d bytes", key, numel, class.dtype.name, m.size)
	}
	rec, err := find(key, int64(size))
	if err != nil {
		return nil, err
	}
	if rec.dtype == nil {
		rec.dtype = class.dtype
	}
	meta := id[3] == value(text("meta"))
	if s := rec.last; s != nil && s.dtype == class.dtype && s.size == int64(size) && s.meta == meta {
		return s, nil
	}
	if err := m.charge(costStorage); err != nil {
		return nil, err
	}
	rec.last = &storage{rec: rec, dtype: class.dtype, size: int64(size), meta: meta}
	return rec.last, nil
}

// unusedStorages notes records that are no tensor's.
func (f *file) unusedStorages() {
	for _, r := range f.records {
		if !r.used {
			f.finding(max(0, r.at), "the storage %.100q of %d bytes is no tensor's", r.key, r.size)
		}
	}
}

// legacyStorages are those that a legacy file's pickle mentions.
type legacyStorages struct {
	*file
	byKey map[string]*record
	views map[string]*storage
}

// load adds to a persistent id's parts what a view of another storage is: its own
// key, the first element, and how many there are. Another kind of persistent id is a
// class of modules with its source, which is the class (torch/serialization.py:
// _legacy_load).
func (l *legacyStorages) load(m *machine, id []value) (value, error) {
	if len(id) == 4 && id[0] == value(text("module")) {
		return id[1], nil
	}
	if len(id) != 6 {
		return nil, m.errorf("a persistent id of %d parts", len(id))
	}
	s, err := m.storage(id, func(key string, size int64) (*record, error) {
		r, ok := l.byKey[key]
		switch {
		case !ok:
			if err := m.charge(costRecord + costEntry); err != nil {
				return nil, err
			}
			r = &record{key: key, at: -1, size: size}
			l.byKey[key] = r
			l.records = append(l.records, r)
		case r.size != size:
			return nil, m.errorf("the storage %.100q has %d bytes here and %d before", key, size, r.size)
		}
		return r, nil
	})
	if err != nil {
		return nil, err
	}
	view, ok := id[5].(*tuple)
	if !ok {
		if id[5] != value(none{}) {
			return nil, m.errorf("a view of a storage is %s", describe(id[5]))
		}
		return s, nil
	}
	return l.view(m, s, view.items)
}

func (l *legacyStorages) view(m *machine, s *storage, parts []value) (value, error) {
	if len(parts) != 3 {
		return nil, m.errorf("a view of a storage of %d parts", len(parts))
	}
	key, ok := parts[0].(text)
	from, okay := parts[1].(int64)
	n, fine := parts[2].(int64)
	numel := s.size / s.dtype.width
	if !ok || !okay || !fine || from < 0 || n < 0 || from > numel || n > numel-from {
		return nil, m.errorf("a view of the storage %.100q is not within its %d elements", s.rec.key, numel)
	}
	v := &storage{rec: s.rec, dtype: s.dtype, from: from * s.dtype.width, size: n * s.dtype.width, meta: s.meta}
	if old, ok := l.views[string(key)]; ok {
		if *old != *v {
			return nil, m.errorf("the view %.100q of a storage is there twice, and differs", key)
		}
		return old, nil
	}
	if err := m.charge(costStorage + costEntry); err != nil {
		return nil, err
	}
	if l.views == nil {
		l.views = make(map[string]*storage)
	}
	l.views[string(key)] = v
	return v, nil
}

// place finds the storages behind the pickles, in the order of their keys: a count
// of elements and bytes each. It returns where they end.
func (l *legacyStorages) place(at int64, keysAt int64, keys []value) (int64, error) {
	for _, k := range keys {
		key, ok := k.(text)
		r := l.byKey[string(key)]
		switch {
		case !ok || r == nil:
			return 0, malformed.At(format, keysAt, "the key %.100q is no storage's", key)
		case r.at >= 0:
			return 0, malformed.At(format, keysAt, "the storage %.100q is there twice", key)
		}
		b, err := l.window.bytes(at, 8)
		if err != nil {
			return 0, err
		}
		n, numel := binary.LittleEndian.Uint64(b), uint64(r.size/r.dtype.width)
		if n != numel {
			return 0, malformed.At(format, at, "the storage %.100q has %d elements here and %d in the pickle", key, n, numel)
		}
		r.at = at + 8
		if r.size > l.size-r.at {
			return 0, malformed.At(format, r.at, "the storage %.100q has %d bytes, %d are left", key, r.size, l.size-r.at)
		}
		at = r.at + r.size
	}
	return at, nil
}
