// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import (
	"fmt"
	"strings"
)

// npy is an array: version 1.0, with that header and that data.
func npy(header string, data []byte) []byte {
	for (10+len(header)+1)%64 != 0 {
		header += " "
	}
	return join("\x93NUMPY\x01\x00", uint16(len(header)+1), header, "\n", data)
}

// npys lie in the header, or have a program where a literal belongs.
func npys() []Attack {
	const evil = `__import__("os").system("touch modelfs-canary")`
	// shape and descr are headers with another value of that name.
	shape := func(s string) Content {
		return whole(npy("{'descr': '<f4', 'fortran_order': False, 'shape': "+s+", }", fourFloats))
	}
	descr := func(s string) Content {
		return whole(npy("{'descr': "+s+", 'fortran_order': False, 'shape': (4,), }", fourFloats))
	}
	header := func(s string) Content { return whole(npy(s, fourFloats)) }
	start := func(parts ...any) Content { return whole(join("\x93NUMPY", join(parts...))) }
	const sound = "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }"
	return table("npy", ".npy", []row{
		{"length-4-gib", start("\x02\x00", uint32(0xffffffff)), refused(""), "ml-explore/mlx#3365, numpy/numpy#22393: 12 bytes that claim a header of 4 GiB", nil},
		{"length-sparse", Content{Head: join("\x93NUMPY\x02\x00", uint32(0xfffffff0), "{"), Size: 1 << 33}, refused(""), "a header of 4 GiB, in a file that has room", nil},
		{"length-short", start("\x01\x00", uint16(10), sound, "\n", fourFloats), refused(""), "a header that ends within its dict", nil},
		{"version-4", start("\x04\x00", uint16(len(sound)), sound), refused("version"), "a version that nobody wrote", nil},
		{"magic", whole(patched(npy(sound, fourFloats), 0, "\x93NUMPX")), refused(""), "another magic", nil},
		{"call-in-shape", shape("(" + evil + ",)"), refused(""), "a program as a dimension: numpy.load evaluated headers once", nil},
		{"call-in-descr", descr(evil), refused(""), "a program as the type", nil},
		{"call-as-header", header(evil), refused(""), "a program as the header", nil},
		{"call-behind", header(sound + "; " + evil), refused(""), "a program behind the header", nil},
		{"call-in-key", header("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), " + evil + ": 1}"), refused(""), "a program as a key", nil},
		{"comprehension", shape("tuple(x for x in [4])"), refused(""), "a comprehension", nil},
		{"lambda", descr("(lambda: '<f4')()"), refused(""), "a function", nil},
		{"format-string", descr("f'<f{4}'"), refused(""), "a text with a program in it", nil},
		{"arithmetic", shape("(2**2,)"), refused(""), "a power: 9**9**9 needs all memory", nil},
		{"repetition", descr("'<f4' * 1000000000"), refused(""), "a text of a gigabyte", nil},
		{"deep-parentheses", shape(strings.Repeat("(", 60_000)), refused(""), "ast.literal_eval may crash the interpreter on literals nested deep", nil},
		{"deep-lists", descr(strings.Repeat("[", 60_000)), refused(""), "a type nested deep", nil},
		{"object", descr("'|O'"), refused("object"), "an array of objects is a pickle", nil},
		{"object-big", descr("'>O8'"), refused(""), "an array of objects, in another byte order", nil},
		{"structured", descr("[('a', '<f4'), ('b', '|O')]"), refused(""), "a structure with an object in it", nil},
		{"subarray", descr("('<f4', (4,))"), refused(""), "a type with a shape", nil},
		{"descr-long", descr("'<f" + strings.Repeat("4", 60_000) + "'"), refused(""), "a type of 60,000 digits", nil},
		{"descr-huge", descr("'|S9223372036854775807'"), refused(""), "elements of 2^63-1 bytes", nil},
		{"descr-void", descr("'|V0'"), refused(""), "elements of no bytes", nil},
		{"descr-date", descr("'<M8[ns]'"), refused(""), "dates are no numbers of a tensor", nil},
		{"descr-escape", descr(`'<\x664'`), refused(""), "an escape in a type", nil},
		{"shape-negative", shape("(-4,)"), refused(""), "a dimension below 0", nil},
		{"shape-overflow", shape("(4294967296, 4294967296, 4)"), refused(""), "the product overflows to 0", nil},
		{"shape-65-bits", shape("(18446744073709551620,)"), refused(""), "a dimension of 65 bits: cut to 64 it is 4", nil},
		{"shape-past-end", shape("(5,)"), refused(""), "more elements than there are bytes for", nil},
		{"shape-dims", shape("(" + strings.Repeat("1,", 65) + ")"), refused(""), "65 dimensions", nil},
		{"shape-dims-many", shape("(" + strings.Repeat("1,", 30_000) + ")"), refused(""), "30,000 dimensions", nil},
		{"shape-bool", shape("(True,)"), refused(""), "True as a dimension: 1 in Python", nil},
		{"shape-hex", shape("(0x4,)"), refused(""), "a dimension in another base", nil},
		{"shape-underscore", shape("(1_0,)"), refused(""), "a dimension with an underscore", nil},
		{"shape-float", shape("(4.0,)"), refused(""), "a dimension that is no whole number", nil},
		{"shape-list", shape("[4]"), refused(""), "a list as the shape", nil},
		{"order-number", header("{'descr': '<f4', 'fortran_order': 1, 'shape': (4,), }"), refused(""), "a number as a truth value", nil},
		{"key-twice", header("{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (4,), }"), refused(""), "two types", nil},
		{"key-missing", header("{'descr': '<f4', 'shape': (4,), }"), refused(""), "no order", nil},
		{"key-unknown", header("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), 'evil': 1}"), refused(""), "a key that nobody knows", nil},
		{"header-nul", header(fmt.Sprintf("%s\x00evil", sound)), refused(""), "NUL behind the dict", nil},
		{"trailing", whole(join(npy(sound, fourFloats), pickled(2, call(global("posix.system"), text(shell))))), flagged(""), "a pickle behind the array, which a second numpy.load of the same handle reads", pickled(2, call(global("posix.system"), text(shell)))},
		{"cut", whole(npy(sound, fourFloats[:15])), refused(""), "the last byte is missing", nil},
	}...)
}
