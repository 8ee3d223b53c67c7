// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import (
	"fmt"
	"strings"
)

// safetensors is a file with that JSON, and that data.
func safetensors(members string, data []byte) []byte {
	header := "{" + members + "}"
	return join(uint64(len(header)), header, data)
}

// entry is a tensor in the JSON.
func entry(name, dtype, shape string, begin, end uint64) string {
	return fmt.Sprintf(`%q:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, dtype, shape, begin, end)
}

// safetensorsFiles lie in the length before the JSON, in the JSON, or in what it
// says.
func safetensorsFiles() []Attack {
	sound := entry("w", "F32", "[4]", 0, 16)
	// member is a sound file with another member in its JSON.
	member := func(text string) Content { return whole(safetensors(sound+","+text, fourFloats)) }
	// tensor is a file of one tensor.
	tensor := func(dtype, shape string, begin, end uint64) Content {
		return whole(safetensors(entry("w", dtype, shape, begin, end), fourFloats))
	}
	length := func(n uint64, size int64) Content {
		return Content{Head: join(n, "{"+sound+"}", fourFloats), Size: size}
	}
	named := func(quoted string) Content {
		return whole(safetensors(`"`+quoted+`":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}`, fourFloats))
	}
	const two = `,"v":{"dtype":"F32","shape":[2],"data_offsets":[%s]}`
	both := func(offsets string, size int) Content {
		return whole(safetensors(entry("w", "F32", "[2]", 0, 8)+fmt.Sprintf(two, offsets), make([]byte, size)))
	}
	const no = 0
	return table("safetensors", ".safetensors", []row{
		{"length-63", length(1<<63-1, no), refused(""), "safetensors attacks/README.md, proposal 1: a header of 2^63-1 bytes", nil},
		{"length-wraps", length(1<<64-8, no), refused(""), "a header of 2^64-8 bytes: with the 8 before it, 0", nil},
		{"length-64", length(1<<64-1, no), refused(""), "a header of 2^64-1 bytes", nil},
		{"length-limit", length(100_000_001, 1<<32), refused(""), "safetensors attacks/README.md, proposal 2: a header over the limit, in a file that has room", nil},
		{"length-zeros", length(99_000_000, 1<<32), refused(""), "a header of 99 MB, nearly all of it zeros", nil},
		{"length-0", length(0, no), refused(""), "a header without a byte", nil},
		{"length-short", length(10, no), refused(""), "a header that ends within its JSON", nil},
		{"overlap", both("4,12", 12), refused(""), "safetensors attacks/README.md, proposal 4: two tensors in one place", nil},
		{"overlap-same", both("0,8", 8), refused(""), "two names for the same bytes", nil},
		{"hole", both("12,20", 20), refused(""), "bytes between two tensors that nobody owns", nil},
		{"trailing", whole(safetensors(sound, join(fourFloats, "PK\x05\x06"))), refused(""), "Trail of Bits' audit of 2023: a polyglot, with another file behind the last tensor", nil},
		{"trailing-archive", whole(join(safetensors(sound, fourFloats), plainZip(evilState()).bytes())), refused(""), "a PyTorch checkpoint behind the last tensor", nil},
		{"cut", whole(safetensors(sound, fourFloats[:15])), refused(""), "the last byte is missing", nil},
		{"past-end", tensor("F32", "[8]", 0, 32), refused(""), "safetensors attacks/README.md, proposal 3: a tensor behind the file's end", nil},
		{"backwards", tensor("F32", "[4]", 16, 0), refused(""), "a tensor that ends before it begins", nil},
		{"offset-huge", tensor("U8", "[9223372036854775807]", 0, 1<<63-1), refused(""), "a tensor of 2^63-1 bytes", nil},
		{"offset-overflow", tensor("F32", "[4]", 1<<64-16, 0), refused(""), "a begin of 2^64-16", nil},
		{"shape-overflow", tensor("F32", "[4294967296,4294967296,4]", 0, 16), refused(""), "the shape's product overflows to 0", nil},
		{"shape-overflow-bits", tensor("F64", "[2305843009213693952]", 0, 0), refused(""), "the number of bytes overflows to 0", nil},
		{"shape-negative", tensor("F32", "[-4]", 0, 16), refused(""), "a dimension below 0", nil},
		{"shape-two-negative", tensor("F32", "[-2,-2]", 0, 16), refused(""), "two dimensions below 0: the product is right", nil},
		{"shape-float", tensor("F32", "[4.0]", 0, 16), refused(""), "a dimension that is no whole number", nil},
		{"shape-exponent", tensor("F32", "[4e0]", 0, 16), refused(""), "a dimension with an exponent", nil},
		{"shape-octal", tensor("F32", "[04]", 0, 16), refused(""), "a dimension that begins with 0", nil},
		{"shape-65-bits", tensor("F32", "[18446744073709551620]", 0, 16), refused(""), "a dimension of 65 bits: cut to 64 it is 4", nil},
		{"shape-digits", tensor("F32", "["+strings.Repeat("9", 1<<20)+"]", 0, 16), refused(""), "a number of a million digits", nil},
		{"shape-text", tensor("F32", `["4"]`, 0, 16), refused(""), "a dimension that is text", nil},
		{"shape-mismatch", tensor("F32", "[2]", 0, 16), refused(""), "safetensors attacks/README.md, proposal 5: more bytes than the shape needs", nil},
		{"dtype-unknown", tensor("F13", "[4]", 0, 16), refused(""), "a type that nobody knows", nil},
		{"dtype-object", tensor("object", "[4]", 0, 16), refused(""), "a type that holds pickles elsewhere", nil},
		{"dtype-misaligned", tensor("F4", "[3]", 0, 1), refused(""), "12 bits are no bytes", nil},
		{"member-twice", member(sound), refused(""), "safetensors' README: not all parsers respect that names are unique", nil},
		{"member-twice-escaped", member(strings.Replace(sound, `"w"`, `"\u0077"`, 1)), refused(""), "one name twice, once with an escape", nil},
		{"field-twice", whole(safetensors(strings.Replace(sound, `"dtype"`, `"dtype":"U8","dtype"`, 1), fourFloats)), refused(""), "two types for one tensor", nil},
		{"metadata-twice", member(`"__metadata__":{},"__metadata__":{}`), refused(""), "two objects about the file", nil},
		{"metadata-number", member(`"__metadata__":{"a":1}`), refused(""), "a number where only texts may be", nil},
		{"metadata-nested", member(`"__metadata__":{"a":{"b":"c"}}`), refused(""), "an object where only texts may be", nil},
		{"metadata-tensor", whole(safetensors(entry("__metadata__", "F32", "[4]", 0, 16), fourFloats)), refused(""), "a tensor under the name of what is about the file", nil},
		{"deep-arrays", member(`"a":` + strings.Repeat("[", 100_000)), refused(""), "arrays 100,000 deep: recursion ends the process", nil},
		{"deep-objects", whole(safetensors(strings.Replace(sound, `"dtype"`, `"x":`+strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000)+`,"dtype"`, 1), fourFloats)), refused(""), "objects 100,000 deep, in a field that nobody knows", nil},
		{"json-trailing-comma", member(""), refused(""), "a comma behind the last member", nil},
		{"json-comment", member(`/* */"a":1`), refused(""), "a comment", nil},
		{"json-quotes", whole(safetensors(strings.ReplaceAll(sound, `"`, `'`), fourFloats)), refused(""), "single quotes", nil},
		{"json-nan", member(`"a":{"dtype":"F32","shape":[NaN],"data_offsets":[16,16]}`), refused(""), "NaN", nil},
		{"json-mark", whole(join(uint64(len(sound)+5), "\xef\xbb\xbf{"+sound+"}", fourFloats)), refused(""), "a byte order mark before the JSON", nil},
		{"json-array", whole(join(uint64(2), "[]")), refused(""), "an array in place of the object", nil},
		{"json-two", whole(join(uint64(len(sound)+4), "{"+sound+"}{}", fourFloats)), refused(""), "two objects", nil},
		{"name-utf8", named("\xff\xfe"), refused(""), "a name that is not UTF-8", nil},
		{"name-surrogate", named(`\ud800`), refused(""), "half of a surrogate pair", nil},
		{"name-control", named("a\x01"), refused(""), "a control character in a string", nil},
		{"name-long", named(strings.Repeat("a", 2<<20)), refused(""), "a name of 2 MiB", nil},
		{"name-dots", named("../../../../etc/passwd"), read("../../../../etc/passwd"), "a name that leads out of the mount", nil},
		{"name-dots-escaped", named(`\u002e\u002e\u002fetc\u002fpasswd`), read("../etc/passwd"), "the same by escapes", nil},
		{"name-absolute", named("/etc/passwd"), read("/etc/passwd"), "a name that is an absolute path", nil},
		{"name-nul", named(`w\u0000.npy`), read("w\x00.npy"), "a name with NUL, at which C ends", nil},
		{"name-empty", named(""), read(""), "a name without a letter", nil},
		{"pickle", whole(pickled(2, call(global("posix.system"), text(shell)))), refused(""), "CVE-2025-1889: a pickle with another format's extension", pickled(2, call(global("posix.system"), text(shell)))},
	}...)
}
