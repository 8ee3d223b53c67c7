// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import (
	"bytes"
	"fmt"
	"strings"
)

// structures are pickles that call nothing: they lie about lengths, leave the
// stack empty, nest without end, or grow by a few bytes into a great deal.
func structures() []Attack {
	pkl := func(value ...any) Content { return whole(torchZip(pickled(4, join(value...)))) }
	raw := func(value ...any) Content { return whole(torchZip(join(value...))) }
	var rows []row
	add := func(what string, content Content, want Want, imitates string) {
		rows = append(rows, row{what, content, want, imitates, nil})
	}
	huge := uint64(1)<<63 - 1

	add("empty", raw(), refused(""), "data.pkl without a byte")
	add("no-stop", raw("\x80\x02}"), refused(""), "it ends before STOP")
	add("stop-empty", raw("\x80\x02."), refused(""), "STOP without a value")
	add("protocol", raw("\x80\x63}."), refused(""), "protocol 99")
	add("unknown-opcode", pkl("}", byte(0xff)), refused(""), "no opcode")
	add("underflow", pkl("R"), refused(""), "REDUCE on an empty stack")
	add("mark-missing", pkl("}u"), refused(""), "SETITEMS without MARK")
	add("mark-taken", pkl("(0}"), safe(), "POP takes a MARK away: Python allows it")
	add("odd-items", pkl("}(", text("a"), "u"), refused(""), "a key without a value")
	add("memo-missing", pkl("h\x63"), refused(""), "mmaitre314/picklescan#52, protectai/modelscan#348: BINGET of what was never put")
	add("memo-far", pkl("}", "r", uint32(0xffffffff)), safe(), "LONG_BINPUT at 2^32-1, for which C would allocate")
	add("memo-text", pkl("}p", strings.Repeat("9", 5000), "\n"), refused(""), "PUT at a number of 5000 digits")
	add("append-to-tuple", pkl(")", "Na"), refused(""), "APPEND on a tuple")
	add("items-of-list", pkl("]", text("a"), "Ns"), refused(""), "SETITEM on a list")
	add("key-is-list", pkl("}", "]", "Ns"), safe(), "a key that has no hash")
	add("build-nothing", pkl("N}b"), safe(), "BUILD on None")
	add("text-long", pkl("X", uint32(0xffffffff), "x"), refused(""), "BINUNICODE of 4 GiB")
	add("text8-long", pkl(byte(0x8d), huge, "x"), refused(""), "BINUNICODE8 of 2^63 bytes")
	add("text8-negative", pkl(byte(0x8d), ^uint64(0), "x"), refused(""), "BINUNICODE8 of 2^64-1 bytes")
	add("bytes8-long", pkl(byte(0x8e), huge, "x"), refused(""), "BINBYTES8 of 2^63 bytes")
	add("bytearray8-long", pkl(byte(0x96), huge, "x"), refused(""), "BYTEARRAY8 of 2^63 bytes")
	add("string-negative", pkl("T", int32(-1), "x"), refused(""), "BINSTRING of -1 bytes")
	add("long4-negative", pkl(byte(0x8b), int32(-5), "x"), refused(""), "LONG4 of -5 bytes")
	add("long4-long", pkl(byte(0x8b), int32(0x7fffffff), "x"), refused(""), "LONG4 of 2 GiB")
	add("frame-long", pkl(byte(0x95), huge, "}"), safe(), "FRAME of 2^63 bytes: Python reads ahead")
	add("frame-short", pkl(byte(0x95), uint64(1), "}", text("a"), "Ns"), safe(), "a FRAME that ends within an opcode's data")
	add("utf8", pkl("X", uint32(2), "\xff\xfe"), refused(""), "BINUNICODE that is not UTF-8")
	add("decimal", pkl("}", text("n"), "L", strings.Repeat("7", 1<<20), "L\n", "s", text("w"), weight(), "s"), safe(), "CVE-2020-10735: a number of a million digits, for which conversion is quadratic")
	add("decimal-binary", pkl(dict(text("n"), join(byte(0x8b), int32(1<<20), bytes.Repeat([]byte{0x55}, 1<<20)), text("w"), weight())), safe(), "LONG4 of a million bytes")
	add("line-endless", pkl("c", strings.Repeat("a", 4<<20)), refused(""), "GLOBAL without an end of line, 4 MB")
	add("deep-lists", pkl(strings.Repeat("]", 1<<20), strings.Repeat("a", 1<<20-1)), safe(), "lists a million deep: recursion ends the process")
	add("deep-tuples", pkl("N", strings.Repeat("\x85", 1<<20)), safe(), "tuples a million deep")
	add("deep-dicts", pkl(deepDicts(100_000)), refused(""), "dicts 100,000 deep, with a tensor at the bottom: its name has 200 kB")
	add("marks", pkl(strings.Repeat("(", 1<<20), "}"), safe(), "a million MARKs")
	add("laughs", pkl(laughs(40)), refused(""), "billion laughs: 10^40 paths lead to one tensor through the memo")
	add("doubling", pkl(doubling(64)), refused(""), "tuples of twice the same: 2^64 paths lead to one tensor")
	add("circle-list", pkl("]q\x05h\x05a"), safe(), "a list that holds itself")
	add("circle-dict", pkl("}q\x05", text("self"), "h\x05s", text("w"), weight(), "s"), read("w"), "a dict that holds itself, and a tensor: endlessly many names")
	add("circle-wide", pkl(circles(64)), read("w"), "64 dicts that all hold each other, and one tensor")
	return table("pickle", ".pt", rows...)
}

// deepDicts is a tensor in n dicts.
func deepDicts(n int) []byte {
	return join(bytes.Repeat(join("}", text("a")), n), weight(), bytes.Repeat([]byte("s"), n))
}

// laughs is n lists, each of which holds the one before it ten times; the first
// holds a tensor.
func laughs(n byte) []byte {
	b := put(list(weight()), 100)
	for i := range n {
		b = join(dropped(b), put(list(bytes.Repeat(get(100+i), 10)), 101+i))
	}
	return b
}

func doubling(n byte) []byte {
	return join(weight(), bytes.Repeat([]byte("2\x86"), int(n)))
}

// circles is n dicts, each of which holds all of them.
func circles(n byte) []byte {
	var b []byte
	for i := range n {
		b = join(b, dropped(put([]byte("}"), i)))
	}
	b = join(b, get(0), text("w"), weight(), "s0")
	for i := range n {
		b = join(b, get(i), "(")
		for j := range n {
			b = join(b, text(fmt.Sprint("d", j)), get(j))
		}
		b = join(b, "u0")
	}
	return join(b, get(0))
}
