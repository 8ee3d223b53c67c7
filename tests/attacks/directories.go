// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import "strings"

// directories are checkpoints whose directory lies, or that have several.
func directories() []Attack {
	evil, sound := plainZip(evilState()).bytes(), plainZip(stateDict()).bytes()
	var rows []row
	add := func(what string, data []byte, want Want, imitates string) {
		rows = append(rows, row{what, whole(data), want, imitates, nil})
	}
	end := func(lie func(*ending)) []byte {
		a := plainZip(stateDict())
		a.end = lie
		return a.bytes()
	}

	add("two-archives", join(sound, evil), flagged(""), "one archive behind another: which one is read?")
	add("two-archives-evil-first", join(evil, sound), flagged(""), "one archive behind another, in the other order")
	add("archive-in-comment", end(func(e *ending) { e.comment = string(evil) }), flagged(""), "a whole archive in the comment")
	add("end-in-comment", end(func(e *ending) { e.comment = string(ending{}.bytes()) }), flagged(""), "an end of a directory in the comment, without members")
	add("comment", end(func(e *ending) { e.comment = "nothing to see" }), flagged(""), "a comment, which PyTorch does not write")
	add("comment-long", end(func(e *ending) { e.comment = strings.Repeat("x", 0xffff) }), flagged(""), "a comment of 64 KiB: the end of the directory is far from the end")
	add("comment-size", end(func(e *ending) { e.commentSize = 100 }), refused(""), "a comment that ends behind the file")
	add("trailing", join(sound, "evil"), flagged(""), "bytes behind the archive")
	add("trailing-zeros", join(sound, make([]byte, 4096)), flagged(""), "zeros behind the archive")
	add("count-more", end(func(e *ending) { e.here, e.all = 100, 100 }), refused(""), "more members than there are")
	add("count-fewer", end(func(e *ending) { e.here, e.all = 3, 3 }), refused(""), "fewer members than there are")
	add("count-none", end(func(e *ending) { e.here, e.all = 0, 0 }), refused(""), "no member, by the count")
	add("count-differs", end(func(e *ending) { e.here = 1 }), flagged(""), "two counts that differ")
	add("disks", end(func(e *ending) { e.disk, e.first = 1, 1 }), flagged(""), "a part of an archive of several disks")
	add("offset-past-end", end(func(e *ending) { e.offset = 1 << 31 }), refused(""), "a directory behind the file's end")
	add("offset-early", end(func(e *ending) { e.offset -= 46 }), refused(""), "a directory that begins in the middle of data")
	add("size-large", end(func(e *ending) { e.size = 1 << 31 }), refused(""), "a directory larger than the file")
	add("size-small", end(func(e *ending) { e.size = 46 }), flagged(""), "a directory smaller than its members")
	add("no-directory", sound[:len(sound)-22], refused(""), "no end of a directory: only the local headers are left")
	add("cut", sound[:len(sound)-1], refused(""), "the last byte is missing")
	add("entry-signature", patched(sound, directoryAt(sound), "PK\x09\x09"), refused(""), "an entry of the directory without its signature")
	add("entry-name-long", patched(sound, directoryAt(sound)+28, uint16(0xffff)), refused(""), "a name that ends behind the directory")
	add("entry-extra-long", patched(sound, directoryAt(sound)+30, uint16(0xffff)), refused(""), "a field that ends behind the directory")
	all := table("directory", ".pt", rows...)
	return append(append(append(all, prefixed()...), memberNames()...), zip64()...)
}

// directoryAt is where the directory of an archive begins.
func directoryAt(archive []byte) int { return strings.Index(string(archive), "PK\x01\x02") }

// prefixed are archives behind something else: a file of two formats.
func prefixed() []Attack {
	var rows []row
	for _, p := range []struct{ what, before, imitates string }{
		{"script", "#!/bin/sh\ntouch \"${MODELFS_CANARY:-modelfs-canary}\"\nexit\n", "a program of the shell, and an archive"},
		{"elf", "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 57), "a program of Linux, and an archive"},
		{"zeros", strings.Repeat("\x00", 512), "zeros before the archive"},
		{"pickle", string(pickled(2, call(global("posix.system"), text(shell)))), "a pickle, and an archive: protectai/modelscan#263"},
		{"legacy", string(legacy{}.bytes()), "a checkpoint of each of PyTorch's formats"},
		{"safetensors", string(safetensors(entry("w", "F32", "[4]", 0, 16), fourFloats)), "a safetensors file and an archive (Trail of Bits' audit of 2023)"},
	} {
		a := plainZip(stateDict())
		a.before = []byte(p.before)
		rows = append(rows,
			row{"prefix-" + p.what, whole(a.bytes()), flagged(""), p.imitates + "; offsets count from the archive's start", nil},
			row{"prefix-" + p.what + "-counted", whole(shifted(a)), flagged(""), p.imitates + "; offsets count from the file's start", nil},
		)
	}
	return table("polyglot", ".pt", rows...)
}

// shifted is an archive whose offsets count what is before it.
func shifted(a archive) []byte {
	by := uint32(len(a.before))
	for i := range a.members {
		a.members[i].central = func(h *header) { h.offset += by }
	}
	a.end = func(e *ending) { e.offset += by }
	return a.bytes()
}

// memberNames are further members with names that lead elsewhere. No tensor needs
// them.
func memberNames() []Attack {
	var rows []row
	for _, n := range []struct{ what, name, imitates string }{
		{"dots", "archive/../../../../etc/passwd", "zip slip: a name that leads out"},
		{"absolute", "/etc/passwd", "a name that is an absolute path"},
		{"backslash", `archive\..\..\evil.dll`, "a name with another system's separators"},
		{"nul", "archive/data.pkl\x00.txt", "a name with NUL: C reads data.pkl"},
		{"utf8", "archive/\xff\xfe", "a name that is not UTF-8"},
		{"empty", "", "a member without a name"},
		{"long", "archive/" + strings.Repeat("x", 0xfff0), "a name of 64 KiB"},
		{"storage-zeros", "archive/data/00", "a storage 00 beside 0"},
	} {
		rows = append(rows, row{
			"member-" + n.what, whole(plainZip(stateDict(), member{name: n.name, data: []byte("x")}).bytes()),
			flagged(""), n.imitates, nil,
		})
	}
	return table("directory", ".pt", rows...)
}

// zip64 are lies in the numbers of 64 bits, which PyTorch writes for large files.
func zip64() []Attack {
	const none = 0xffffffff
	field := func(numbers ...uint64) []byte {
		b := join("\x01\x00", uint16(8*len(numbers)))
		for _, n := range numbers {
			b = join(b, n)
		}
		return b
	}
	member := func(lie func(*header)) []byte {
		a := plainZip(stateDict())
		a.members[2].central = lie
		return a.bytes()
	}
	record := func(entries, size, offset, recordAt uint64) []byte {
		a := plainZip(stateDict())
		a.zip64 = func(e ending) []byte {
			at := recordAt
			if at == 0 {
				at = uint64(e.offset + e.size)
			}
			return join("PK\x06\x06", uint64(44), uint16(45), uint16(45), uint32(0), uint32(0), entries, entries,
				or64(size, uint64(e.size)), or64(offset, uint64(e.offset)), "PK\x06\x07", uint32(0), at, uint32(1))
		}
		a.end = func(e *ending) { e.here, e.all, e.size, e.offset = 0xffff, 0xffff, none, none }
		return a.bytes()
	}
	var rows []row
	add := func(what string, data []byte, want Want, imitates string) {
		rows = append(rows, row{what, whole(data), want, imitates, nil})
	}
	add("64-sound", record(4, 0, 0, 0), read("w"), "numbers of 64 bits that are true: the control of the others")
	add("64-field-missing", member(func(h *header) { h.size, h.packed = none, none }), refused(""), "a size of 64 bits that is nowhere")
	add("64-size", member(func(h *header) { h.size, h.packed, h.extra = none, none, field(1<<63, 1<<63) }), refused(""), "a member of 2^63 bytes")
	add("64-size-max", member(func(h *header) { h.size, h.packed, h.extra = none, none, field(1<<64-1, 1<<64-1) }), refused(""), "a member of 2^64-1 bytes")
	add("64-offset", member(func(h *header) { h.offset, h.extra = none, field(1<<63-1) }), refused(""), "a member at byte 2^63-1")
	add("64-offset-negative", member(func(h *header) { h.offset, h.extra = none, field(1<<64-64) }), refused(""), "a member before the file's first byte")
	add("64-field-twice", member(func(h *header) { h.size, h.packed, h.extra = none, none, join(field(16, 16), field(8, 8)) }), flagged(""), "two fields with two sizes")
	add("64-field-short", member(func(h *header) { h.size, h.packed, h.extra = none, none, field(16) }), refused(""), "a field with one of two sizes")
	add("64-field-needless", member(func(h *header) { h.extra = field(1<<40, 1<<40) }), flagged(""), "sizes of 64 bits that no header asks for")
	add("64-count", record(1<<40, 0, 0, 0), refused(""), "2^40 members")
	add("64-count-max", record(1<<64-1, 0, 0, 0), refused(""), "2^64-1 members")
	add("64-directory-size", record(4, 1<<63, 0, 0), refused(""), "a directory of 2^63 bytes")
	add("64-directory-offset", record(4, 0, 1<<63-1, 0), refused(""), "a directory at byte 2^63-1")
	add("64-directory-overflow", record(4, 1<<63, 1<<63, 0), refused(""), "a directory whose offset and size add up to 0")
	add("64-record-offset", record(4, 0, 0, 1<<62), refused(""), "a record behind the file's end")
	return table("directory", ".pt", rows...)
}

func or64(n, otherwise uint64) uint64 {
	if n == 0 {
		return otherwise
	}
	return n
}
