// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

// legacy is a checkpoint from before PyTorch 1.6: pickles behind each other, then
// the storages. The zero value of a part is the sound one.
type legacy struct {
	magic, protocol, system, object, keys []byte
	storages                              []byte
}

// legacyMagic is the number that such a file begins with, as LONG1.
var legacyMagic = []byte("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")

func (l legacy) bytes() []byte {
	system := dict(text("protocol_version"), num(1001), text("little_endian"), []byte{0x88},
		text("type_sizes"), dict(text("short"), num(2), text("int"), num(4), text("long"), num(4)))
	return concat(
		or(l.magic, pickled(2, legacyMagic)), or(l.protocol, pickled(2, num(1001))), or(l.system, pickled(2, system)),
		or(l.object, pickled(2, dict(text("w"), weight(old)))), or(l.keys, pickled(2, list(text("0")))),
		or(l.storages, join(uint64(4), fourFloats)),
	)
}

// chosen are some of each kind of trick.
func chosen() []trick {
	var some []trick
	for _, all := range [][]trick{executors(), loadersOfOthers(), names(), machine()} {
		for _, t := range all {
			switch t.what {
			case "posix-system", "builtins-eval", "torch-load", "stack-global-memo", "inst", "setstate":
				some = append(some, t)
			}
		}
	}
	return some
}

// carriers are the same few tricks in everything that can carry a pickle.
func carriers() []Attack {
	var all []Attack
	for _, t := range chosen() {
		fires := func(pickle []byte) []byte {
			if t.fires {
				return pickle
			}
			return nil
		}
		add := func(carrier, file string, data, pickle []byte, want Want, imitates string) {
			all = append(all, Attack{
				Name: "carrier/" + t.what + "-in-" + carrier, File: t.what + "-in-" + file, Content: whole(data),
				Want: want, Imitates: t.imitates + "; " + imitates, Payload: fires(pickle),
			})
		}
		beside := pickled(4, dict(text("evil"), t.value, text("w"), weight(old)))
		add("legacy", "legacy.pth", legacy{object: beside}.bytes(), beside, flagged(""), "a checkpoint from before PyTorch 1.6")
		alone := pickled(4, t.value)
		add("bare-pickle", "pickle.bin", alone, alone, refused(""), "CVE-2025-10155: a pickle with a checkpoint's extension")
		add("script", "script.pt", torchScript(concat(text("evil"), t.value), nil), alone, flagged(""), "an attribute of a TorchScript module")
		add("constants", "constants.pt", torchScript(nil, pickled(4, tuple(t.value))), alone, flagged(""), "the constants of a TorchScript module")
		objects := npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", alone)
		add("npy", "objects.npy", objects, alone, refused("object"), "numpy.load with allow_pickle, the default before 1.16.3 (CVE-2019-6446)")
		add("npz", "objects.npz", npz(npyMember("w", nil), npyMember("evil", objects)).bytes(), alone, flagged("object"), "an array of objects beside a sound one")
	}
	return all
}

// legacies are old checkpoints that lie, or that hold calls in their other pickles.
func legacies() []Attack {
	evil := pickled(2, call(global("posix.system"), text(shell)))
	view := func(parts ...[]byte) func(*rebuild) {
		return func(r *rebuild) {
			r.id = tuple(text("storage"), global("torch.FloatStorage"), text("0"), text("cpu"), num(4), tuple(parts...))
		}
	}
	object := func(change ...func(*rebuild)) []byte { return pickled(2, dict(text("w"), weight(change...))) }
	huge := uint64(1) << 62
	pth := func(l legacy) Content { return whole(l.bytes()) }
	return table("legacy", ".pth",
		row{"call-in-magic", pth(legacy{magic: evil}), refused(""), "a call in place of the magic number", evil},
		row{"call-in-protocol", pth(legacy{protocol: evil}), refused(""), "a call in place of the protocol", evil},
		row{"call-in-system", pth(legacy{system: evil}), flagged(""), "a call in place of the numbers about the system", evil},
		row{"call-in-keys", pth(legacy{keys: evil}), refused(""), "a call in place of the list of storages", evil},
		row{"protocol", pth(legacy{protocol: pickled(2, num(1002))}), refused(""), "a protocol that nobody wrote", nil},
		row{"order-text", pth(legacy{system: pickled(2, dict(text("little_endian"), text("maybe")))}), safe(), "a byte order that is text: PyTorch never looks at it", nil},
		row{"numel-huge", pth(legacy{storages: join(huge, fourFloats)}), refused(""), "a storage of 2^62 elements", nil},
		row{"numel-negative", pth(legacy{storages: join(^uint64(0), fourFloats)}), refused(""), "a storage of -1 elements", nil},
		row{"numel-other", pth(legacy{storages: join(uint64(3), fourFloats)}), refused(""), "the storage has another size than the pickle says", nil},
		row{"cut", pth(legacy{storages: join(uint64(4), fourFloats[:12])}), refused(""), "the storage ends early", nil},
		row{"trailing", pth(legacy{storages: join(uint64(4), fourFloats, evil)}), flagged(""), "a pickle behind the last storage", nil},
		row{"keys-missing", pth(legacy{keys: pickled(2, list())}), refused(""), "the list of storages is empty", nil},
		row{"keys-twice", pth(legacy{keys: pickled(2, list(text("0"), text("0"))), storages: join(uint64(4), fourFloats, uint64(4), fourFloats)}), refused(""), "one storage, twice", nil},
		row{"keys-many", pth(legacy{keys: pickled(2, list(make([]byte, 0), repeat(text("x"), 1<<18)))}), refused(""), "a list of 262,144 storages", nil},
		row{"view-outside", pth(legacy{object: object(view(text("v"), num(3), num(2)))}), refused(""), "a view of a storage that ends behind it", nil},
		row{"view-negative", pth(legacy{object: object(view(text("v"), num(-1), num(4)))}), refused(""), "a view of a storage that begins before it", nil},
		row{"tar", whole(tar()), refused(""), "PyTorch 0.1's format, a tar archive with pickles and links", nil},
	)
}

func repeat(b []byte, n int) []byte {
	out := make([]byte, 0, n*len(b))
	for range n {
		out = append(out, b...)
	}
	return out
}

// tar is an archive with one link, storages -> /etc/passwd.
func tar() []byte {
	h := make([]byte, 512)
	copy(h, "storages")
	copy(h[100:], "0000777\x000000000\x000000000\x0000000000000\x0000000000000\x00        2/etc/passwd")
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	for i := 5; i >= 0; i, sum = i-1, sum/8 {
		h[148+i] = byte('0' + sum%8)
	}
	h[154] = 0
	return append(h, make([]byte, 1024)...)
}
