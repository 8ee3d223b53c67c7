// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"bytes"
	"errors"

	"github.com/modelfs/modelfs/loaders/internal/cursor"
	"github.com/modelfs/modelfs/loaders/malformed"
)

// magic is the number that a legacy file begins with, as a pickle has it: 10 bytes,
// little-endian (torch/serialization.py: MAGIC_NUMBER, 0x1950a86a20f9469cfc6c).
var magic = []byte{0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19}

// magicText is the same in protocols 0 and 1.
const magicText = "L119547037146038801333356L\n."

// version is torch's PROTOCOL_VERSION.
const version = 1001

// looksPickled says whether a file begins as a pickle does: with its protocol, or
// with the magic number.
func looksPickled(begin []byte) bool {
	return len(begin) > 1 && begin[0] == 0x80 && begin[1] >= 2 && begin[1] <= maxProtocol || bytes.HasPrefix(begin, []byte(magicText))
}

// legacy lists the tensors of a file of five pickles.
func (f *file) legacy() error {
	c := cursor.New(format, f.window.r, min(f.size, maxPickle))
	if err := f.magic(c); err != nil {
		return err
	}
	at := c.Pos()
	v, err := f.next(c, nil)
	if err != nil {
		return err
	}
	if v != value(int64(version)) {
		return malformed.At(format, at, "a file of a version that is not %d", version)
	}
	if _, err := f.next(c, nil); err != nil { // the writer's system: it changes nothing
		return err
	}
	at = c.Pos()
	l := &legacyStorages{file: f, byKey: make(map[string]*record)}
	root, err := f.next(c, l.load)
	if err != nil {
		return err
	}
	keysAt := c.Pos()
	keys, err := f.next(c, nil)
	if err != nil {
		return err
	}
	in, ok := keys.(*list)
	if !ok {
		return malformed.At(format, keysAt, "the keys of the storages are %s", describe(keys))
	}
	end, err := l.place(c.Pos(), keysAt, in.items)
	if err != nil {
		return err
	}
	if end < f.size {
		f.finding(end, "%d bytes follow the last storage", f.size-end)
	}
	f.unusedStorages()
	return f.nameTensors(root, at, keysAt-at, "")
}

// next reads the next pickle.
func (f *file) next(c *cursor.Cursor, load func(*machine, []value) (value, error)) (value, error) {
	m := machine{file: f, Cursor: c, load: load}
	return m.run()
}

// magic reads the first pickle. Any other pickle than the magic number's is of
// another program.
func (f *file) magic(c *cursor.Cursor) error {
	b, err := f.window.bytes(0, min(f.size, int64(len(magicText))))
	if err != nil {
		return err
	}
	if string(b) == magicText {
		return c.Skip(uint64(len(magicText)))
	}
	v, err := f.next(c, nil)
	var wrong *malformed.Error
	if err != nil && !errors.As(err, &wrong) {
		return err
	}
	if b, ok := v.(*blob); ok && bytes.Equal(b.head, magic) {
		return nil
	}
	return malformed.At(format, 0, "it is a pickle, but none of PyTorch's: it does not begin with the magic number")
}
