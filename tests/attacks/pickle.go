// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import (
	"math/big"
	"slices"
	"strings"
)

// Pickles are assembled from the opcodes of Python's pickletools: each function
// gives the ones that leave one value on the stack.

// What payloads would do, as a command of a shell and as Python.
const (
	shell  = `touch "${MODELFS_CANARY:-modelfs-canary}"`
	python = `open(__import__("os").environ.get("MODELFS_CANARY", "modelfs-canary"), "w").close()`
	canary = "modelfs-canary"
)

// pickled is a whole pickle of a protocol.
func pickled(protocol byte, value ...[]byte) []byte {
	return join(byte(0x80), protocol, concat(value...), ".")
}

// global names a function by its dotted path.
func global(path string) []byte {
	dot := strings.LastIndexByte(path, '.')
	return globalOf(path[:dot], path[dot+1:])
}

func globalOf(module, name string) []byte { return join("c", module, "\n", name, "\n") }

// stackGlobal is a global whose names are values (protocol 4).
func stackGlobal(module, name []byte) []byte { return join(module, name, byte(0x93)) }

func text(s string) []byte { return join("X", uint32(len(s)), s) }

func blob(b []byte) []byte { return join("B", uint32(len(b)), b) }

// num is a whole number of any size.
func num(n int64) []byte {
	if n == int64(int32(n)) {
		return join("J", int32(n))
	}
	return long(big.NewInt(n))
}

// long is a number as LONG1: its bytes in two's complement, the lowest first.
func long(n *big.Int) []byte {
	size := n.BitLen()/8 + 1
	v := new(big.Int).Set(n)
	if n.Sign() < 0 {
		v.Add(v, new(big.Int).Lsh(big.NewInt(1), uint(size*8)))
	}
	b := v.FillBytes(make([]byte, size))
	slices.Reverse(b)
	return join(byte(0x8a), byte(size), b)
}

func power(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }

func tuple(items ...[]byte) []byte { return join("(", concat(items...), "t") }

func list(items ...[]byte) []byte { return join("](", concat(items...), "e") }

// dict is keys and values in turn.
func dict(items ...[]byte) []byte { return join("}(", concat(items...), "u") }

func ints(all ...int64) []byte {
	var items [][]byte
	for _, n := range all {
		items = append(items, num(n))
	}
	return tuple(items...)
}

// call is REDUCE: a function and its arguments.
func call(function []byte, arguments ...[]byte) []byte {
	return join(function, tuple(arguments...), "R")
}

// put keeps the value on top of the stack in the memo, get brings it back.
func put(value []byte, n byte) []byte { return join(value, "q", n) }

func get(n byte) []byte { return join("h", n) }

// dropped leaves nothing of a value on the stack.
func dropped(value []byte) []byte { return join(value, "0") }

func orderedDict() []byte { return call(global("collections.OrderedDict")) }

// rebuild is a tensor as PyTorch pickles it: a call of _rebuild_tensor_v2 with a
// storage. The zero value of a field is that of weight.
type rebuild struct {
	function string
	key      []byte
	class    []byte
	location []byte
	numel    []byte
	storage  []byte // in place of the ones above
	id       []byte // in place of the storage's whole persistent id
	offset   []byte
	size     []byte
	stride   []byte
	hooks    []byte
	more     []byte // further arguments
	legacy   bool   // the id has a sixth part
}

func or(value, otherwise []byte) []byte {
	if value == nil {
		return otherwise
	}
	return value
}

func (r *rebuild) ops() []byte {
	id := tuple(text("storage"), or(r.class, global("torch.FloatStorage")), or(r.key, text("0")),
		or(r.location, text("cpu")), or(r.numel, num(4)), legacyView(r.legacy))
	function := r.function
	if function == "" {
		function = "torch._utils._rebuild_tensor_v2"
	}
	return call(global(function), or(r.storage, join(or(r.id, id), "Q")), or(r.offset, num(0)),
		or(r.size, ints(4)), or(r.stride, ints(1)), []byte{0x89}, or(r.hooks, orderedDict()), r.more)
}

func legacyView(legacy bool) []byte {
	if legacy {
		return []byte("N")
	}
	return nil
}

// weight is a sound tensor of four floats, but for what the changes make of it.
func weight(changes ...func(*rebuild)) []byte {
	r := new(rebuild)
	for _, change := range changes {
		change(r)
	}
	return r.ops()
}

// old makes a tensor one of a file from before PyTorch 1.6.
func old(r *rebuild) { r.legacy = true }

// stateDict is the pickle of a dict with a weight w, behind what else it shall hold.
func stateDict(items ...[]byte) []byte {
	return pickled(2, dict(concat(items...), text("w"), weight()))
}
