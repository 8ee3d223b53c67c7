// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import (
	"math/big"
	"strings"
)

// rebuilds are tensors whose numbers lie, that hang on calls, or whose names lead
// elsewhere.
func rebuilds() []Attack {
	var rows []row
	add := func(what string, want Want, imitates string, change func(*rebuild)) {
		rows = append(rows, row{what, whole(torchZip(pickled(2, dict(text("w"), weight(change))))), want, imitates, nil})
	}
	evil := call(global("posix.system"), text(shell))
	huge := int64(1) << 62

	add("past-end", refused(""), "five elements of a storage of four", func(r *rebuild) { r.size = ints(5) })
	add("offset", refused(""), "begins behind the storage", func(r *rebuild) { r.offset = num(1) })
	add("offset-negative", refused(""), "begins before the storage: reads what lies there", func(r *rebuild) { r.offset = num(-4) })
	add("offset-huge", refused(""), "offset and size together overflow 2^63", func(r *rebuild) { r.offset = num(1<<63 - 2) })
	add("offset-65-bits", refused(""), "an offset of 65 bits: cut to 64 it is 0", func(r *rebuild) { r.offset = long(power(64)) })
	add("size-65-bits", refused(""), "a size of 65 bits: cut to 64 it is 4", func(r *rebuild) { r.size = tuple(long(new(big.Int).Add(power(64), big.NewInt(4)))) })
	add("size-negative", refused(""), "a size below 0", func(r *rebuild) { r.size = ints(-4) })
	add("size-overflow", refused(""), "the shape's product overflows to 0", func(r *rebuild) { r.size, r.stride = ints(1<<32, 1<<32), ints(1<<32, 1) })
	add("size-expanded", refused(""), "a shape of 2^62 elements on one, by strides of 0: its bytes overflow", func(r *rebuild) { r.size, r.stride = ints(huge, 1), ints(0, 0) })
	add("size-text", refused(""), "a size that is text", func(r *rebuild) { r.size = tuple(text("4")) })
	add("size-call", refused(""), "a size that a call gives", func(r *rebuild) { r.size = tuple(evil) })
	add("size-missing", refused(""), "None in place of the size", func(r *rebuild) { r.size = []byte("N") })
	add("dimensions", refused(""), "100,000 dimensions", func(r *rebuild) {
		r.size, r.stride = join("(", strings.Repeat("K\x01", 100_000), "t"), join("(", strings.Repeat("K\x01", 100_000), "t")
	})
	add("stride-negative", refused(""), "strides that lead before the storage", func(r *rebuild) { r.stride = ints(-1) })
	add("stride-huge", refused(""), "size times stride overflows", func(r *rebuild) { r.size, r.stride = ints(2, 2), ints(huge, huge) })
	add("stride-count", refused(""), "two strides for one dimension", func(r *rebuild) { r.stride = ints(1, 1) })
	add("numel-huge", refused(""), "a storage of 2^62 elements in 16 bytes", func(r *rebuild) { r.numel = num(huge) })
	add("numel-more", refused(""), "a storage of five elements in 16 bytes", func(r *rebuild) { r.numel, r.size = num(5), ints(5) })
	add("numel-negative", refused(""), "a storage of -1 elements", func(r *rebuild) { r.numel = num(-1) })
	add("key-missing", refused(""), "a storage that is not in the archive", func(r *rebuild) { r.key = text("1") })
	add("key-dots", refused(""), "a storage's key that leads to /etc/passwd", func(r *rebuild) { r.key = text("../../../../../../etc/passwd") })
	add("key-pickle", refused(""), "a storage's key that leads to the pickle", func(r *rebuild) { r.key = text("../data.pkl") })
	add("key-nul", refused(""), "a storage's key with NUL", func(r *rebuild) { r.key = text("0\x00") })
	add("key-number", safe(), "a storage's key that is no text", func(r *rebuild) { r.key = num(0) })
	add("class-unknown", refused(""), "a storage of no type", func(r *rebuild) { r.class = global("torch.EvilStorage") })
	add("class-function", refused("system"), "os.system as the storage's type", func(r *rebuild) { r.class = global("posix.system") })
	add("class-call", refused("system"), "a call as the storage's type", func(r *rebuild) { r.class = evil })
	add("class-quantized", refused(""), "a quantised storage under a plain tensor: bytes without their scale", func(r *rebuild) { r.class = global("torch.QInt8Storage") })
	add("location", read("w"), "a device that nobody has, with a long number", func(r *rebuild) { r.location = text("cuda:99999999999999999999") })
	add("location-function", flagged(""), "a device that is a function", func(r *rebuild) { r.location = global("posix.system") })
	add("id-short", refused(""), "a persistent id of one part", func(r *rebuild) { r.id = tuple(text("storage")) })
	add("id-text", refused(""), "a persistent id that is text", func(r *rebuild) { r.id = text("storage") })
	add("storage-call", refused("system"), "a storage that a call gives", func(r *rebuild) { r.storage = evil })
	add("storage-tensor", refused(""), "a tensor as another one's storage", func(r *rebuild) { r.storage = weight() })
	add("hooks-call", flagged("system"), "a call as the tensor's hooks, of which it does not depend", func(r *rebuild) { r.hooks = evil })
	add("metadata-call", flagged("system"), "a call as the tensor's metadata", func(r *rebuild) { r.more = evil })
	add("arguments", refused(""), "ten arguments", func(r *rebuild) { r.more = []byte("NNNN") })
	add("function", flagged("_rebuild_evil"), "another function rebuilds it", func(r *rebuild) { r.function = "torch._utils._rebuild_evil" })
	all := table("tensor", ".pt", rows...)
	return append(append(all, wrapped()...), named()...)
}

// wrapped are tensors that calls hold, or that hold calls.
func wrapped() []Attack {
	evil := call(global("posix.system"), text(shell))
	of := func(value []byte, payload bool) (Content, []byte) {
		p := pickled(2, dict(text("w"), value))
		if !payload {
			return whole(torchZip(p)), nil
		}
		return whole(torchZip(p)), p
	}
	var rows []row
	add := func(what string, value []byte, want Want, imitates string, fires bool) {
		c, p := of(value, fires)
		rows = append(rows, row{what, c, want, imitates, p})
	}
	parameter := global("torch._utils._rebuild_parameter")
	add("parameter-call", call(parameter, evil, []byte{0x89}, orderedDict()), refused("system"), "a parameter around a call", true)
	add("parameter-number", call(parameter, num(4), []byte{0x89}, orderedDict()), refused(""), "a parameter around a number", false)
	add("type-v2", call(global("torch._tensor._rebuild_from_type_v2"), global("posix.system"), global("torch.Tensor"), tuple(text(shell)), dict()),
		refused("system"), "an allowed function whose first argument is the one to call", false)
	add("from-numpy", call(global("torch._utils._rebuild_device_tensor_from_numpy"), evil, text("F"), text("cpu"), []byte{0x89}),
		refused(""), "a tensor out of a call", true)
	add("state-of-tensor", join(weight(), dict(text("__setstate__"), global("posix.system")), "b"), flagged(""), "BUILD on a tensor", false)
	add("item-of-tensor", join(weight(), text("x"), "Ns"), refused(""), "SETITEM on a tensor", false)
	return table("tensor", ".pt", rows...)
}

// named are tensors with names that lead elsewhere: they are read, and the paths
// in the mount are escaped.
func named() []Attack {
	var rows []row
	add := func(what, name, imitates string) {
		rows = append(rows, row{what, whole(torchZip(pickled(2, dict(text(name), weight())))), read(name), imitates, nil})
	}
	add("name-dots", "../../../../etc/passwd", "a name that leads out of the mount")
	add("name-absolute", "/etc/passwd", "a name that is an absolute path")
	add("name-dot-dot", "..", "a name that is the folder above")
	add("name-inner-dots", "a/../../b", "a name that leads out on its way")
	add("name-nul", "w\x00.npy", "a name with NUL, at which C ends")
	add("name-newline", "w\nevil: 1", "a name with a line's end")
	add("name-escape", "\x1b]0;evil\x07", "a name that a terminal obeys")
	add("name-index", "index.json", "the name of what describes the folder")
	add("name-slashes", strings.Repeat("/", 1000), "a thousand folders without names")
	both := pickled(2, dict(text("a/b"), weight(), text("a"), dict(text("b"), weight())))
	rows = append(rows,
		row{"name-long", whole(torchZip(pickled(2, dict(text(strings.Repeat("a", 100_000)), weight())))), safe(), "a name of 100,000 bytes", nil},
		row{"name-twice", whole(torchZip(both)), flagged(""), "a/b by a slash, and by a dict: one name, two tensors", nil},
		row{"name-number", whole(torchZip(pickled(2, dict(num(1), weight(), text("1"), weight())))), flagged(""), "1 and \"1\": one name, two tensors", nil},
		row{"name-call", whole(torchZip(pickled(2, dict(call(global("posix.system"), text(shell)), weight())))), flagged("system"), "a call as the name", nil},
	)
	return table("tensor", ".pt", rows...)
}
