// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strings"
)

// evilState is a state dict with a call beside the weight.
func evilState() []byte {
	return stateDict(text("evil"), call(global("posix.system"), text(shell)))
}

// archives are checkpoints whose members lie: one reader takes another content
// from them than the other.
func archives() []Attack {
	evil, sound := evilState(), stateDict()
	var rows []row
	add := func(what string, a archive, want Want, imitates string) {
		rows = append(rows, row{what, whole(a.bytes()), want, imitates, nil})
	}
	// first has the data.pkl of a sound checkpoint changed.
	first := func(change func(*member)) archive {
		a := plainZip(sound)
		change(&a.members[0])
		return a
	}
	local := func(lie func(*header)) archive { return first(func(m *member) { m.local = lie }) }
	central := func(lie func(*header)) archive { return first(func(m *member) { m.central = lie }) }
	both := func(lie func(*header)) archive { return first(func(m *member) { m.local, m.central = lie, lie }) }

	add("data-pkl-twice", plainZip(sound, member{name: "archive/data.pkl", data: evil}), refused(""), "two members of one name: which one is read?")
	add("data-pkl-twice-evil-first", plainZip(evil, member{name: "archive/data.pkl", data: sound}), refused(""), "two members of one name, in the other order")
	add("two-roots", plainZip(sound, member{name: "evil/data.pkl", data: evil}), flagged(""), "two folders with a data.pkl each")
	add("data-pkl-deeper", first(func(m *member) { m.name = "archive/archive/data.pkl" }), refused(""), "no data.pkl where it belongs")
	add("data-pkl-upper-case", plainZip(sound, member{name: "archive/DATA.PKL", data: evil}), flagged(""), "a name that differs in case alone")
	add("data-pkl-missing", archive{members: plainZip(sound).members[1:]}, refused("data.pkl"), "no data.pkl")
	add("data-pkl-folder", first(func(m *member) { m.name = "archive/data.pkl/" }), refused(""), "data.pkl is a folder")
	add("storage-twice", plainZip(sound, member{name: "archive/data/0", data: make([]byte, 16)}), refused(""), "two storages of one name")
	add("byteorder-twice", plainZip(sound, member{name: "archive/byteorder", data: []byte("big")}), refused(""), "two byte orders")
	add("byteorder-unknown", archive{members: changed(plainZip(sound).members, 1, []byte("middle"))}, refused(""), "a byte order that nobody has")
	add("extra-pickle", plainZip(sound, member{name: "archive/evil.pkl", data: evil}), flagged(""), "a further pickle that no tensor needs")
	add("extra-program", plainZip(sound, member{name: "archive/__main__.py", data: []byte(python)}), flagged(""), "the checkpoint is also a Python program (zipapp)")
	add("extra-local", plainZip(sound, member{name: "archive/hidden.pkl", data: evil, central: func(h *header) { h.name = "archive/.hidden" }}), flagged(""), "a pickle under another name in the directory")

	add("local-name", local(func(h *header) { h.name = "archive/evil.pkl" }), refused(""), "CVE-2025-1944: the local header names another file than the directory")
	add("local-name-longer", local(func(h *header) { h.name = "archive/data.pkl.gz" }), refused(""), "CVE-2025-1944, with a name of another length: the data lie elsewhere")
	add("local-extra-longer", local(func(h *header) { h.extra = join("FB", uint16(0xffff)) }), flagged(""), "a local field that claims 64 KiB")
	add("local-size", local(func(h *header) { h.size, h.packed = 3, 3 }), refused(""), "Lab700xOrg/aisbom#82: sizes differ between the headers")
	add("local-method", local(func(h *header) { h.method = deflate }), refused(""), "methods differ between the headers")
	add("local-crc", local(func(h *header) { h.crc ^= 1 }), refused(""), "checksums differ between the headers")
	add("local-flags", local(func(h *header) { h.flags = flagEncrypted }), refused(""), "CVE-2025-1945: the local header says encrypted")
	add("local-signature", archive{members: localAt(plainZip(sound).members, 2, func(h *header) { h.signature = "PK\x05\x06" })}, refused(""), "no local header where one belongs")
	add("central-flags", central(func(h *header) { h.flags = flagEncrypted }), refused(""), "CVE-2025-1945: the directory says encrypted, and the data are not")
	add("central-method", central(func(h *header) { h.method = 99 }), refused(""), "a method that nobody knows")
	add("central-size", central(func(h *header) { h.size, h.packed = 3, 3 }), refused(""), "the directory's size is smaller")
	add("central-size-large", central(func(h *header) { h.size, h.packed = 1<<30, 1<<30 }), refused(""), "the directory's size is larger than the file")
	add("central-offset", central(func(h *header) { h.offset = 1 << 31 }), refused(""), "a member behind the file's end")
	add("central-offset-inside", central(func(h *header) { h.offset += 7 }), refused(""), "a member that begins within a header")
	add("encrypted", both(func(h *header) { h.flags |= flagEncrypted }), refused(""), "mmaitre314/picklescan GHSA-w8jq-xcqf-f792: an encrypted member that torch.load reads all the same")
	add("patched-data", both(func(h *header) { h.flags |= 1 << 5 }), flagged(""), "a flag for compressed patches")
	add("strong-encryption", both(func(h *header) { h.flags |= 1<<6 | flagEncrypted }), refused(""), "strong encryption")
	add("crc", both(func(h *header) { h.crc ^= 0xffff }), flagged(""), "CVE-2025-10156: a wrong checksum stops scanners, and not PyTorch")
	add("method-lie", both(func(h *header) { h.method = deflate }), refused(""), "stored data that call themselves deflated")
	add("symlink", both(func(h *header) { h.external = 0o120777 << 16 }), safe(), "data.pkl is a symlink for whoever unpacks it")
	add("deflated", first(func(m *member) { *m = deflated(*m) }), flagged(""), "a compressed data.pkl: PyTorch stores it")
	add("deflated-evil", archive{members: append([]member{deflated(member{name: "archive/data.pkl", data: evil})}, plainZip(sound).members[1:]...)}, flagged(""), "a compressed data.pkl with a call: scanners look for bytes")
	add("storage-deflated", archive{members: deflatedAt(plainZip(sound).members, 2)}, refused(""), "a compressed storage: it lies nowhere as it is")
	add("storage-short", archive{members: changed(plainZip(sound).members, 2, fourFloats[:15])}, refused(""), "a storage that lacks a byte")
	add("storage-crc", archive{members: liedAt(plainZip(sound).members, 2, func(h *header) { h.crc ^= 1 })}, safe(), "a storage with a wrong checksum: nobody reads all of it for an index")
	add("overlap-same", archive{members: aliased(plainZip(stateDict(text("v"), weight(func(r *rebuild) { r.key = text("1") }))).members)}, refused(""), "two members in one place")
	add("overlap-header", overlapping(), refused(""), "David Fifield's bomb of 2019: a member that holds the next one's header")
	add("into-directory", archive{members: liedAt(plainZip(sound).members, 3, func(h *header) { h.size, h.packed = 100, 100 })}, refused(""), "a member that reaches into the directory")
	return table("zip", ".pt", rows...)
}

// changed is a list of members with other data at a place.
func changed(members []member, i int, data []byte) []member {
	members[i].data = data
	return members
}

func deflatedAt(members []member, i int) []member {
	members[i] = deflated(members[i])
	return members
}

func localAt(members []member, i int, lie func(*header)) []member {
	members[i].local = lie
	return members
}

func liedAt(members []member, i int, lie func(*header)) []member {
	members[i].local, members[i].central = lie, lie
	return members
}

// aliased has a storage 1 that is the one of 0.
func aliased(members []member) []member {
	return append(members, member{
		name: "archive/data/1", data: fourFloats, at: 3,
	})
}

// overlapping is a checkpoint whose data/0, with its header, is data/1's content.
func overlapping() archive {
	inside := member{name: "archive/data/0", data: fourFloats}
	around := member{name: "archive/data/1", data: archive{}.appendMember(nil, &inside)}
	inside.at = 3 // around's place
	inside.central = func(h *header) { h.offset += uint32(30 + len(around.name)) }
	a := plainZip(stateDict())
	a.members = append(a.members[:2:2], around, inside, a.members[3])
	return a
}

// bombs are members that become large.
func bombs() []row {
	const large = 64 << 20
	start := npy(fmt.Sprintf("{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }", large), nil)
	content := append(bytes.Clone(start), make([]byte, large)...)
	crc := crc32.ChecksumIEEE(content)
	packed := zeros(start, large)
	bomb := func(name string) member {
		lie := func(h *header) { h.crc, h.size = crc, uint32(len(content)) }
		return member{name: name, method: deflate, packed: packed, local: lie, central: lie}
	}
	small := npyMember("w", nil)
	short := bomb("w.npy")
	claim := func(h *header) { h.crc, h.size = crc32.ChecksumIEEE(small.data), uint32(len(small.data)) }
	short.local, short.central = claim, claim
	short.packed = zeros(small.data[:len(small.data)-16], large)
	long := deflated(npyMember("w", npy(fmt.Sprintf("{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }", large), nil)))
	long.local = func(h *header) { h.size = uint32(len(content)) }
	long.central = long.local
	nested := npz(bomb("w.npy")).bytes()
	return []row{
		{"bomb", whole(npz(bomb("w.npy")).bytes()), read("w"), "safetensors attacks/numpy_dos_create.py: 64 MiB of zeros in 424 kB: the budget counts what comes out", nil},
		{"bomb-longer", whole(npz(short).bytes()), unmade(), "64 MiB come out where 16 bytes are promised", nil},
		{"bomb-shorter", whole(npz(long).bytes()), unmade(), "nothing comes out where 64 MiB are promised", nil},
		{"bomb-nested", whole(npz(npyMember("w", nil), member{name: "inner.npz", data: nested}).bytes()), flagged(""), "an archive in an archive", nil},
	}
}

// npzs are archives of arrays that lie.
func npzs() []Attack {
	sound := npyMember("w", nil)
	damaged := deflated(sound)
	damaged.packed = patched(damaged.packed, 0, "\x07\xff\xff")
	cut := deflated(sound)
	cut.packed = cut.packed[:len(cut.packed)-4]
	other := deflated(sound)
	other.local = func(h *header) { h.crc ^= 1 }
	other.central = other.local
	file := func(members ...member) Content { return whole(npz(members...).bytes()) }
	rows := []row{
		{"deflate-damaged", file(damaged), unmade(), "a block of a type that deflate does not have", nil},
		{"deflate-cut", file(cut), unmade(), "the packed data end early", nil},
		{"deflate-crc", file(other), unmade(), "the checksum of a packed array is wrong", nil},
		{"twice", file(sound, sound), refused(""), "two arrays of one name", nil},
		{"twice-by-suffix", file(sound, member{name: "w", data: []byte("x")}), flagged(""), "w and w.npy: NumPy has one name for both", nil},
		{"no-array", file(sound, member{name: "evil.pkl", data: evilState()}), flagged(""), "a pickle beside the arrays", nil},
		{"not-npy", file(member{name: "w.npy", data: pickled(2, call(global("posix.system"), text(shell)))}), refused(""), "a pickle under an array's name", nil},
		{"name-dots", file(npyMember("../../../etc/passwd", nil)), read("../../../etc/passwd"), "a name that leads out of the mount (zip slip)", nil},
		{"name-absolute", file(npyMember("/etc/passwd", nil)), read("/etc/passwd"), "a name that is an absolute path", nil},
		{"name-nul", file(npyMember("w\x00", nil)), read("w\x00"), "a name with NUL", nil},
		{"shape-past-end", file(npyMember("w", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }", fourFloats))), refused(""), "an array that ends behind its member", nil},
		{"header-past-end", file(npyMember("w", join("\x93NUMPY\x02\x00", uint32(1<<16), fourFloats))), refused(""), "a header that ends behind its member", nil},
		{"unicode-path", file(member{name: "w.npy", data: sound.data, local: unicodePath, central: unicodePath}), flagged(""), "a second name in a field for Unicode: readers choose", nil},
		{"members-many", whole(manyMembers(20_000).bytes()), flagged(""), "20,000 members that are no arrays", nil},
		{"overlap", whole(archive{members: []member{sound, {name: "v.npy", data: sound.data, at: 1}}}.bytes()), refused(""), "two arrays in one place", nil},
	}
	return table("npz", ".npz", append(rows, bombs()...)...)
}

// unicodePath adds the field that gives a member another name.
func unicodePath(h *header) {
	other := "evil.npy"
	h.extra = join("up", uint16(5+len(other)), byte(1), crc32.ChecksumIEEE([]byte(h.name)), other)
}

func manyMembers(n int) archive {
	a := npz(npyMember("w", nil))
	for i := range n {
		a.members = append(a.members, member{name: fmt.Sprintf("%06d%s", i, strings.Repeat("x", 100))})
	}
	return a
}
