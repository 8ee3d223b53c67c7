// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"encoding/binary"
	"slices"
	"testing"
)

func look(t *testing.T, file []byte) {
	t.Helper()
	size := int64(len(file))
	if ix, err := parse.Look(t, file, size); err == nil {
		check(t, ix, size)
	}
}

// FuzzFile takes whole files.
func FuzzFile(f *testing.F) {
	for _, file := range soundFiles() {
		f.Add(file)
	}
	f.Add(zipped())
	f.Fuzz(look)
}

// FuzzPickle takes pickles, in an archive whose checksums are right.
func FuzzPickle(f *testing.F) {
	f.Add(start().small().stop().b)
	f.Add(start().op("}(").text("a").small().text("b").op("cos\nsystem\n)Ru").stop().b)
	f.Add([]byte("(lp0\nI1\naS'x'\na."))
	f.Add([]byte("\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00N."))
	f.Fuzz(func(t *testing.T, b []byte) {
		look(t, model(&pickle{b: b}, 2))
	})
}

// words are pieces of pickles that make sense after each other: a fuzzer that puts
// them in a row gets past what single bytes do not.
var words = []string{
	"N", "\x88", "\x89", "K\x00", "K\x01", "K\x02", "K\x04", "J\xff\xff\xff\xff", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
	"(", "t", ")", "\x85", "\x86", "\x87", "]", "a", "e", "l", "}", "s", "u", "d", "\x8f", "\x90", "\x91", "0", "1", "2",
	"\x94", "h\x00", "h\x01", "h\x02", "h\x03", "q\x00", "q\x01", "U\x01a", "U\x01b", "U\x03a/b", "U\x00", "V\\u00e4\n", "C\x01x", "G\x3f\xf0\x00\x00\x00\x00\x00\x00",
	"U\x0b_parameters", "U\x08_buffers", "U\x08_modules", "U\x04conj", "U\x03neg",
	"R", "\x81", "b", "o", "Q", "\x93", "\x92", "\x82\x01", "ios\nsystem\n", "cos\nsystem\n", "cx\ny\n", "ccollections\nOrderedDict\n", "c__builtin__\nset\n",
	"ctorch\nSize\n", "ctorch\nFloatStorage\n", "ctorch.storage\nUntypedStorage\n", "ctorch\nComplexFloatStorage\n", "ctorch\nfloat16\n", "ctorch\ncomplex32\n",
	"ctorch._utils\n_rebuild_tensor\n", "ctorch._utils\n_rebuild_tensor_v2\n", "ctorch._utils\n_rebuild_tensor_v3\n", "ctorch._utils\n_rebuild_parameter\n",
	"ctorch._utils\n_rebuild_parameter_with_state\n", "ctorch._tensor\n_rebuild_from_type_v2\n", "ctorch.nn.parameter\nParameter\n", "ctorch._utils\n_rebuild_sparse_tensor\n",
	string((&pickle{}).small().b), string((&pickle{}).storage("FloatStorage", "0", 4).b), string((&pickle{}).storage("UntypedStorage", "1", 16).b),
	string((&pickle{}).tensor("1", 4, 0, []int64{2, 2}, []int64{1, 2}).b), string((&pickle{}).nums(2, 2).b), string((&pickle{}).nums(0, 1).b),
	"\x95\x05\x00\x00\x00\x00\x00\x00\x00", "g0\n", "p1\n", "I01\n", "L5L\n", "T\x01\x00\x00\x00a", "X\x01\x00\x00\x00a",
}

// FuzzWords takes pickles of such pieces, in either form of file.
func FuzzWords(f *testing.F) {
	index := func(all ...string) []byte {
		var b []byte
		for _, w := range all {
			b = append(b, byte(slices.Index(words, w)))
		}
		return b
	}
	small := words[slices.IndexFunc(words, func(w string) bool { return len(w) > 100 })]
	f.Add(index(small), false, false)
	f.Add(index("}", "\x94", "U\x01a", small, "\x94", "s", "U\x01b", "h\x00", "s"), true, false)
	f.Add(index("cx\ny\n", ")", "\x81", "}", "(", "U\x0b_parameters", "}", "U\x01a", small, "s", "U\x08_buffers", "}", "U\x08_modules", "}", "u", "b"), false, false)
	f.Add(index("]", "\x94", "h\x00", "a", "h\x00", small, "a"), false, true)
	f.Fuzz(func(t *testing.T, program []byte, big, legacy bool) {
		p := start()
		for _, i := range program {
			p.op(words[int(i)%len(words)])
		}
		if p.stop(); legacy {
			look(t, legacyFile(p, keys([]string{"0"}, 4)...))
			return
		}
		parts := modelParts(p, 2)
		if big {
			parts[1].content = []byte("big")
		}
		look(t, zipped(parts...))
	})
}

// FuzzNumbers puts numbers in the place of bytes of sound files: counts, lengths,
// offsets and checksums.
func FuzzNumbers(f *testing.F) {
	files := [][]byte{sound(), script(), soundLegacy()}
	for i := range uint8(3) {
		for _, at := range []uint16{0, 18, 400, 700} {
			for _, n := range []uint64{0, 1, 1 << 31, 1<<32 - 1, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
				f.Add(i, at, n, uint8(4), uint16(26), uint64(10), uint8(2))
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint16, n uint64, width uint8, at2 uint16, n2 uint64, width2 uint8) {
		file := slices.Clone(files[int(which)%len(files)])
		put := func(at int, n uint64, width uint8) {
			copy(file[at%len(file):], binary.LittleEndian.AppendUint64(nil, n)[:width%9])
		}
		put(int(at), n, width)
		put(len(file)-1-int(at2)%len(file), n2, width2)
		look(t, file)
	})
}
