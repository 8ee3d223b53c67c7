// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math/big"
	"testing"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/tensors"
)

const fileName = "folder/model.pt"

var parse hostile.Parse[*tensors.Index] = func(r io.ReaderAt, size int64) (*tensors.Index, error) {
	return Parse(fileName, r, size)
}

// pickle puts a pickle together, opcode by opcode. mark is a byte to come back to.
type pickle struct {
	b    []byte
	mark int64
}

func start() *pickle { return &pickle{b: []byte{0x80, 2}} }

func (p *pickle) here() *pickle {
	p.mark = int64(len(p.b))
	return p
}

// op appends bytes as they are.
func (p *pickle) op(s string) *pickle {
	p.b = append(p.b, s...)
	return p
}

func (p *pickle) global(module, name string) *pickle { return p.op("c" + module + "\n" + name + "\n") }

func (p *pickle) text(s string) *pickle {
	p.b = binary.LittleEndian.AppendUint32(append(p.b, 'X'), uint32(len(s)))
	return p.op(s)
}

// num appends a number in 8 bytes.
func (p *pickle) num(n int64) *pickle {
	p.b = binary.LittleEndian.AppendUint64(append(p.b, 0x8a, 8), uint64(n))
	return p
}

func (p *pickle) nums(all ...int64) *pickle {
	p.op("(")
	for _, n := range all {
		p.num(n)
	}
	return p.op("t")
}

// storage appends a persistent id of an archive, and loads it.
func (p *pickle) storage(class, key string, numel int64) *pickle {
	return p.op("(").text("storage").global("torch", class).text(key).text("cpu").num(numel).op("tQ")
}

// tensor appends a tensor in a storage of floats.
func (p *pickle) tensor(key string, numel, offset int64, shape, strides []int64) *pickle {
	return p.global("torch._utils", "_rebuild_tensor_v2").op("(").storage("FloatStorage", key, numel).
		num(offset).nums(shape...).nums(strides...).op("\x89").global("collections", "OrderedDict").op(")RtR")
}

// small appends a tensor of 2 numbers in a storage of 4.
func (p *pickle) small() *pickle { return p.tensor("0", 4, 1, []int64{2}, []int64{1}) }

func (p *pickle) stop() *pickle { return p.op(".") }

// part is a member of an archive. edit may change what is written of it.
type part struct {
	name    string
	content []byte
	method  uint16
	edit    func(*written)
}

// written are the pieces of one member, and where it begins.
type written struct {
	local, extra, content, descriptor, entry []byte
	at                                       int64
}

const folder = "model/"

// zipped writes an archive as torch does: sizes and checksums behind the members,
// and both ends of the directory.
func zipped(parts ...part) []byte {
	var file, dir []byte
	for _, p := range parts {
		w := &written{at: int64(len(file)), content: p.content}
		crc, n := crc32.ChecksumIEEE(p.content), uint32(len(p.content))
		w.local = append([]byte(localSignature), make([]byte, 26)...)
		le.PutUint16(w.local[6:], 0x0808)
		le.PutUint16(w.local[8:], p.method)
		le.PutUint16(w.local[26:], uint16(len(p.name)))
		w.local = append(w.local, p.name...)
		w.extra = []byte("FB\x02\x00ZZ")
		w.descriptor = append([]byte(descriptorSignature), make([]byte, 12)...)
		le.PutUint32(w.descriptor[4:], crc)
		le.PutUint32(w.descriptor[8:], n)
		le.PutUint32(w.descriptor[12:], n)
		w.entry = append([]byte(entrySignature), make([]byte, 42)...)
		le.PutUint16(w.entry[8:], 0x0808)
		le.PutUint16(w.entry[10:], p.method)
		le.PutUint32(w.entry[16:], crc)
		le.PutUint32(w.entry[20:], n)
		le.PutUint32(w.entry[24:], n)
		le.PutUint16(w.entry[28:], uint16(len(p.name)))
		le.PutUint32(w.entry[42:], uint32(w.at))
		w.entry = append(w.entry, p.name...)
		if p.edit != nil {
			p.edit(w)
		}
		le.PutUint16(w.local[28:], uint16(len(w.extra)))
		for _, b := range [][]byte{w.local, w.extra, w.content, w.descriptor} {
			file = append(file, b...)
		}
		dir = append(dir, w.entry...)
	}
	return ended(file, dir, len(parts))
}

// ended appends a directory and its ends.
func ended(file, dir []byte, n int) []byte {
	at := uint64(len(file))
	file = append(file, dir...)
	end64 := uint64(len(file))
	b := append([]byte(end64Signature), make([]byte, 52)...)
	le.PutUint64(b[4:], 44)
	le.PutUint64(b[24:], uint64(n))
	le.PutUint64(b[32:], uint64(n))
	le.PutUint64(b[40:], uint64(len(dir)))
	le.PutUint64(b[48:], at)
	file = append(file, b...)
	b = append([]byte(locatorSignature), make([]byte, 16)...)
	le.PutUint64(b[8:], end64)
	le.PutUint32(b[16:], 1)
	file = append(file, b...)
	b = append([]byte(endSignature), make([]byte, 18)...)
	le.PutUint16(b[8:], uint16(n))
	le.PutUint16(b[10:], uint16(n))
	le.PutUint32(b[12:], uint32(len(dir)))
	le.PutUint32(b[16:], uint32(at))
	return append(file, b...)
}

// dataAt is where data.pkl begins in what model writes: the first member.
const dataAt = localSize + int64(len(folder+"data.pkl")) + 6

// model is an archive with a pickle and storages of 4 floats each, "0" and on.
func model(p *pickle, n int) []byte { return zipped(modelParts(p, n)...) }

func modelParts(p *pickle, n int) []part {
	parts := []part{{name: folder + "data.pkl", content: p.b}, {name: folder + "byteorder", content: []byte("little")}}
	for i := range n {
		content := make([]byte, 16)
		for j := range content {
			content[j] = byte(16*i + j)
		}
		parts = append(parts, part{name: folder + "data/" + string(rune('0'+i)), content: content})
	}
	return append(parts, part{name: folder + "version", content: []byte("3\n")})
}

// sound is a small archive with a bit of everything.
func sound() []byte {
	p := start().op("}(").text("a").small().text("b").op("](").tensor("1", 4, 0, []int64{2, 2}, []int64{1, 2}).
		op("N\x88e").text("c").tensor("0", 4, 0, nil, nil).op("u").stop()
	return model(p, 2)
}

// legacyFile is a file of the legacy form, with one storage of 4 floats.
func legacyFile(p *pickle, after ...byte) []byte {
	b := []byte("\x80\x02\x8a\n\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.")
	b = append(b, "\x80\x02}X\x0d\x00\x00\x00little_endian\x89s."...)
	b = append(b, p.b...)
	return append(b, after...)
}

// legacyAt is where the object's pickle begins in it.
const legacyAt = 15 + 6 + 24

func legacyStorage(p *pickle, class, key string, numel int64, view func(*pickle)) *pickle {
	p.op("(").text("storage").global("torch", class).text(key).text("cuda:0").num(numel)
	if view == nil {
		p.op("N")
	} else {
		view(p)
	}
	return p.op("tQ")
}

// legacyTensor is a tensor of floats.
func legacyTensor(p *pickle, key string, numel, offset, n int64, view func(*pickle)) *pickle {
	p.global("torch._utils", "_rebuild_tensor_v2").op("(")
	return legacyStorage(p, "FloatStorage", key, numel, view).num(offset).nums(n).nums(1).op("\x89NtR")
}

// keys is the pickle of the storages' keys, and the storages of as many floats.
func keys(all []string, numel ...uint64) []byte {
	p := start().op("](")
	for _, k := range all {
		p.text(k)
	}
	p.op("e").stop()
	for _, n := range numel {
		p.b = binary.LittleEndian.AppendUint64(p.b, n)
		for i := range min(n, 100) {
			p.b = binary.LittleEndian.AppendUint32(p.b, uint32(i))
		}
	}
	return p.b
}

func soundLegacy() []byte {
	p := start().op("}(").text("a")
	legacyTensor(p, "77", 4, 0, 4, nil).text("b")
	legacyTensor(p, "77", 4, 1, 2, func(p *pickle) { p.op("(").text("v").num(1).num(3).op("t") }).op("u").stop()
	return legacyFile(p, keys([]string{"77"}, 4)...)
}

// script is TorchScript: an object with attributes, constants, and compressed code.
func script() []byte {
	p := start().global("__torch__", "Net").op(")\x81}(").text("w").small().text("sub").
		global("__torch__.sub", "Sub").op(")\x81}").text("v").small().op("sbub").stop()
	c := start().tensor("0", 4, 0, []int64{4}, []int64{1}).op("\x85").stop()
	parts := append(modelParts(p, 1),
		part{name: folder + "constants.pkl", content: c.b},
		part{name: folder + "constants/0", content: make([]byte, 16)},
		part{name: folder + "code/__torch__.py", content: []byte{3, 0}, method: deflated})
	return zipped(parts...)
}

// check holds for whatever is taken: distinct names, and every element lies in the
// file, counted with numbers of any size.
func check(tb testing.TB, ix *tensors.Index, size int64) {
	tb.Helper()
	names := make(map[string]bool)
	for i := range ix.Tensors {
		t := &ix.Tensors[i]
		if names[t.Name] || t.File != fileName || len(t.Shape) > maxDims {
			tb.Errorf("%q of %q is there twice, or in another file", t.Name, t.File)
		}
		names[t.Name] = true
		if n, err := t.DType.NBytes(t.Shape); err != nil || n != t.NBytes {
			tb.Errorf("%+v, want %d bytes (%v)", t, n, err)
		}
		lie := t
		if m, ok := t.Maker.(*maker); ok {
			if t.Strides != nil || t.Offset != 0 {
				tb.Errorf("%+v has a maker, strides and an offset", t)
			}
			lie = &m.lie
		}
		if end := lastByte(lie); lie.Offset < 4 || end.Cmp(big.NewInt(size)) > 0 {
			tb.Errorf("%+v ends at byte %v of %d", lie, end, size)
		}
	}
	for _, f := range ix.Findings {
		if f.File != fileName || f.Offset < 0 || f.Offset > size || f.Text == "" || len(f.Text) > 1000 {
			tb.Errorf("%+v", f)
		}
	}
}

// lastByte is where the last element ends, wherever strides lead.
func lastByte(t *tensors.Tensor) *big.Int {
	_, width := t.DType.Block()
	end := big.NewInt(1)
	for i, n := range t.Shape {
		if n == 0 {
			return big.NewInt(t.Offset)
		}
		step := t.StridesOrDefault()[i]
		if step < 0 {
			return big.NewInt(1 << 62)
		}
		end.Add(end, new(big.Int).Mul(big.NewInt(n-1), big.NewInt(step)))
	}
	return end.Mul(end, big.NewInt(width)).Add(end, big.NewInt(t.Offset))
}

// texts are the findings' texts.
func texts(ix *tensors.Index) []string {
	var all []string
	for _, f := range ix.Findings {
		all = append(all, f.Text)
	}
	return all
}

// object runs a pickle that stands alone.
func object(b []byte) (value, *file, error) {
	f := &file{name: fileName, size: int64(len(b)), window: window{r: bytes.NewReader(b), size: int64(len(b))}, left: maxValues}
	v, _, err := f.pickle(0, f.size, nil)
	return v, f, err
}
