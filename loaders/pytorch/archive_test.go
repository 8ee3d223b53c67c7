// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/loaders/malformed"
)

func smallModel() []part { return modelParts(start().small().stop(), 1) }

func TestArchive(t *testing.T) {
	file := sound()
	ix, err := parse.Look(t, file, int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	check(t, ix, int64(len(file)))
	first := int64(bytes.Index(file, []byte{0, 1, 2, 3, 4, 5, 6, 7}))
	second := int64(bytes.Index(file, []byte{16, 17, 18, 19, 20}))
	want := []string{
		fmt.Sprintf("a F32[2] @%d", first+4),
		fmt.Sprintf("b/0 F32[2 2] @%d by [1 2]", second),
		fmt.Sprintf("c F32[] @%d", first),
	}
	if got := listed(ix); !slices.Equal(got, want) || len(ix.Findings) > 0 {
		t.Errorf("%q, %v, want %q", got, ix.Findings, want)
	}
}

func TestTorchScript(t *testing.T) {
	file := script()
	ix, err := parse.Look(t, file, int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	check(t, ix, int64(len(file)))
	if got, want := namesOf(ix), []string{"w", "sub.v", "constants/0"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := texts(ix), []string{`TorchScript: the code in "model/code/" is not looked at`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if ix.Tensors[0].Offset != ix.Tensors[1].Offset || ix.Tensors[2].Offset < ix.Tensors[0].Offset+16 {
		t.Errorf("constants/0 is data/0: %q", listed(ix))
	}
}

// set16 and set32 change numbers of a header.
func set16(b []byte, at int, n uint16) { le.PutUint16(b[at:], n) }
func set32(b []byte, at int, n uint32) { le.PutUint32(b[at:], n) }

// with changes the data/0 of a small model: the third of four members.
func with(edit func(*written)) []part {
	parts := smallModel()
	parts[2].edit = edit
	return parts
}

// TestArchives: other forms that hold the same.
func TestArchives(t *testing.T) {
	wide := func(n ...uint64) []byte {
		b := []byte{1, 0, byte(8 * len(n)), 0}
		for _, x := range n {
			b = le.AppendUint64(b, x)
		}
		return b
	}
	withExtra := func(w *written, extra []byte) {
		set16(w.entry, 30, uint16(len(extra)))
		w.entry = append(w.entry, extra...)
	}
	for name, c := range map[string]struct {
		parts    []part
		findings []string
	}{
		"plain": {smallModel(), nil},
		"sizes in front": {with(func(w *written) {
			set16(w.local, 6, 0x0800)
			set16(w.entry, 8, 0x0800)
			copy(w.local[14:26], w.entry[16:28])
			w.descriptor = nil
		}), nil},
		"sizes at both ends": {with(func(w *written) { copy(w.local[14:26], w.entry[16:28]) }), nil},
		"wide descriptor": {with(func(w *written) {
			w.descriptor = append(w.descriptor[:8], 16, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0)
		}), nil},
		"ZIP64 in the directory": {with(func(w *written) {
			for _, at := range []int{20, 24, 42} {
				set32(w.entry, at, 1<<32-1)
			}
			withExtra(w, wide(16, 16, uint64(w.at)))
		}), nil},
		"ZIP64 in front": {with(func(w *written) {
			set32(w.local, 18, 1<<32-1)
			set32(w.local, 22, 1<<32-1)
			w.extra = append(w.extra, wide(16, 16)...)
		}), nil},
		"torch's ZIP64 in front": {with(func(w *written) { w.extra = append(w.extra, wide(16, 0, 99)...) }), nil},
		"a comment on it":        {with(func(w *written) { set16(w.entry, 32, 3); w.entry = append(w.entry, "abc"...) }), nil},
		"extra in the directory": {with(func(w *written) { withExtra(w, []byte("FB\x01\x00Z")) }), nil},
		"a folder":               {append(smallModel(), part{name: folder + "data/"}), nil},
		"another folder":         {append(smallModel(), part{name: "__MACOSX/x", content: []byte("x")}), []string{`the member "__MACOSX/x" is none of PyTorch's and is not looked at`}},
		"another data.pkl":       {append(smallModel(), part{name: "evil/data.pkl", content: []byte("cos\nsystem\n.")}), []string{`the member "evil/data.pkl" is none of PyTorch's and is not looked at`}},
		"another member":         {append(smallModel(), part{name: folder + "x.pkl", content: []byte("x"), method: deflated}), []string{`the member "model/x.pkl" is none of PyTorch's and is not looked at`}},
		"code":                   {append(smallModel(), part{name: folder + "code/x.py"}), []string{`the member "model/code/x.py" is none of PyTorch's and is not looked at`}},
		"an unused storage":      {append(smallModel(), part{name: folder + "data/7", content: []byte("x")}), []string{`the storage "data/7" of 1 bytes is no tensor's`}},
		"a hidden piece":         {with(func(w *written) { w.descriptor = append(w.descriptor, "PK\x03\x04 hidden"...) }), []string{"11 bytes of the archive belong to no member"}},
		"a hidden end": {func() []part {
			parts := smallModel()
			parts[3].edit = func(w *written) { w.descriptor = append(w.descriptor, "hidden"...) }
			return parts
		}(), []string{"6 bytes of the archive belong to no member"}},
		"no byteorder": {slices.Delete(smallModel(), 1, 2), nil},
	} {
		t.Run(name, func(t *testing.T) {
			file := zipped(c.parts...)
			ix, err := parse.Look(t, file, int64(len(file)))
			if err != nil {
				t.Fatal(err)
			}
			check(t, ix, int64(len(file)))
			at := int64(bytes.Index(file, []byte{0, 1, 2, 3, 4, 5, 6, 7}))
			if got, want := listed(ix), fmt.Sprintf("tensor F32[2] @%d", at+4); !slices.Equal(got, []string{want}) || !slices.Equal(texts(ix), c.findings) {
				t.Errorf("%q, %q, want %q, %q", got, texts(ix), want, c.findings)
			}
		})
	}
}

// TestBrokenMembers changes one member's headers. at says which record the error
// names: the local header, the entry, or the end of the content.
func TestBrokenMembers(t *testing.T) {
	const name = "the local header of \"model/data/0\" "
	const member = "the member \"model/data/0\" "
	for what, c := range map[string]struct {
		edit func(*written)
		at   string
		msg  string
	}{
		"local name":        {func(w *written) { w.local[len(w.local)-1] = '1' }, "local", name + `has the name "model/data/1"`},
		"local length":      {func(w *written) { set16(w.local, 26, 11); w.extra = nil }, "local", name + `has the name "model/data/"`},
		"local method":      {func(w *written) { set16(w.local, 8, deflated) }, "local", name + "has the method 8, the directory 0"},
		"local flags":       {func(w *written) { set16(w.local, 6, 0x0809) }, "local", name + "has the flags 0x0809, the directory 0x0808"},
		"local size":        {func(w *written) { set32(w.local, 18, 17) }, "local", name + "says 17 of 0 bytes with the checksum 00000000, the directory 16 of 16 with CRC"},
		"local full size":   {func(w *written) { set32(w.local, 22, 17) }, "local", name + "says 0 of 17 bytes with the checksum 00000000, the directory 16 of 16 with CRC"},
		"local checksum":    {func(w *written) { set32(w.local, 14, 1) }, "local", name + "says 0 of 0 bytes with the checksum 00000001, the directory 16 of 16 with CRC"},
		"local sizes none":  {func(w *written) { set16(w.local, 6, 0x0800); set16(w.entry, 8, 0x0800) }, "local", name + "says 0 of 0 bytes with the checksum 00000000, the directory 16 of 16 with CRC"},
		"local wide, none":  {func(w *written) { set32(w.local, 18, 1<<32-1) }, "local", name + "has no sizes, or two"},
		"local signature":   {func(w *written) { w.local[3] = 5 }, "local", name + `is none: it begins with "PK\x03\x05"`},
		"local extra":       {func(w *written) { w.extra = []byte("FB\xff\x00ZZ") }, "local", name + "has no sizes, or two"},
		"method":            {func(w *written) { set16(w.local, 8, deflated); set16(w.entry, 10, deflated) }, "data", member + "is compressed, which torch does not do"},
		"encrypted":         {func(w *written) { set16(w.entry, 8, 0x0809) }, "entry", member + "is encrypted"},
		"encrypted in full": {func(w *written) { set16(w.entry, 8, 0x2808) }, "entry", member + "is encrypted"},
		"flags":             {func(w *written) { set16(w.entry, 8, 0x0828) }, "entry", member + "has the flags 0x0828, of which 0x0020 are unknown"},
		"sizes":             {func(w *written) { set32(w.entry, 24, 17) }, "entry", member + "is stored in 16 bytes and has 17"},
		"larger":            {func(w *written) { set32(w.entry, 20, 17); set32(w.entry, 24, 17) }, "end17", "what follows the member \"model/data/0\" does not give its 17 bytes and checksum CRC"},
		"smaller":           {func(w *written) { set32(w.entry, 20, 4); set32(w.entry, 24, 4) }, "end4", "what follows the member \"model/data/0\" does not give its 4 bytes and checksum CRC"},
		"past the end":      {func(w *written) { set32(w.entry, 20, 1<<30); set32(w.entry, 24, 1<<30) }, "entry", member + "of 1073741824 bytes begins at byte AT: the directory begins at byte DIR"},
		"behind":            {func(w *written) { set32(w.entry, 42, 1<<31) }, "entry", member + "of 16 bytes begins at byte 2147483648: the directory begins at byte DIR"},
		"checksum":          {func(w *written) { w.entry[16]++ }, "end16", "what follows the member \"model/data/0\" does not give its 16 bytes and checksum CRC"},
		"descriptor":        {func(w *written) { w.descriptor[12]++ }, "end16", "what follows the member \"model/data/0\" does not give its 16 bytes and checksum CRC"},
		"no descriptor":     {func(w *written) { w.descriptor = nil }, "end16", "what follows the member \"model/data/0\" does not give its 16 bytes and checksum CRC"},
		"entry's signature": {func(w *written) { w.entry[0] = 'X' }, "entry", `no entry of the archive's directory: it begins with "XK\x01\x02"`},
		"another part":      {func(w *written) { w.entry[34] = 1 }, "entry", member + "is in another part of the archive"},
		"wide, none":        {func(w *written) { set32(w.entry, 20, 1<<32-1) }, "entry", member + "has no sizes, or two"},
		"wide, not needed": {func(w *written) {
			set16(w.entry, 30, 12)
			w.entry = append(w.entry, "\x01\x00\x08\x00\x10\x00\x00\x00\x00\x00\x00\x00"...)
		}, "entry", member + "has no sizes, or two"},
		"wide, twice": {func(w *written) {
			set32(w.entry, 20, 1<<32-1)
			set16(w.entry, 30, 24)
			w.entry = append(w.entry, strings.Repeat("\x01\x00\x08\x00\x10\x00\x00\x00\x00\x00\x00\x00", 2)...)
		}, "entry", member + "has no sizes, or two"},
		"extra": {func(w *written) { set16(w.entry, 30, 3); w.entry = append(w.entry, "abc"...) }, "entry", member + "has no sizes, or two"},
	} {
		t.Run(what, func(t *testing.T) {
			var w *written
			file := zipped(with(func(to *written) { c.edit(to); w = to })...)
			dir := bytes.Index(file, []byte("PK\x01\x02"))
			entry := int64(bytes.Index(file, w.entry))
			data := w.at + int64(len(w.local)+len(w.extra))
			at := map[string]int64{"local": w.at, "entry": entry, "data": data, "end4": data + 4, "end16": data + 16, "end17": data + 17}[c.at]
			msg := strings.NewReplacer("CRC", fmt.Sprintf("%08x", le.Uint32(w.entry[16:])), "AT", fmt.Sprint(w.at), "DIR", fmt.Sprint(dir)).Replace(c.msg)
			parse.Refuses(t, file, int64(len(file)), at, msg)
		})
	}
}

func TestBrokenArchives(t *testing.T) {
	renamed := func(name string) []part { return append(smallModel(), part{name: name}) }
	replace := func(file []byte, old, to string) []byte { return bytes.Replace(file, []byte(old), []byte(to), 1) }
	file := zipped(smallModel()...)
	ends := len(file) - endSize - locatorSize - end64Size
	edited := func(at int, b ...byte) []byte {
		out := slices.Clone(file)
		copy(out[at:], b)
		return out
	}
	for name, c := range map[string]struct {
		file []byte
		says string
	}{
		"nothing":               {ended([]byte("PK\x03\x04"), nil, 0), `the archive has no data.pkl`},
		"signature alone":       {[]byte("PK\x03\x04"), "an archive of 4 bytes"},
		"no folder":             {zipped(part{name: "data.pkl", content: start().op("N.").b}), `the member "data.pkl" lies in no folder`},
		"no pickle":             {zipped(smallModel()[1:]...), `the archive has no model/data.pkl: torch did not write it`},
		"twice":                 {zipped(append(smallModel(), smallModel()[0])...), `the member "model/data.pkl" is there twice`},
		"twice, in other case":  {zipped(renamed("model/DATA.PKL")...), `the member "model/DATA.PKL" is there twice`},
		"a way out":             {zipped(renamed("model/../x")...), `the member "model/../x" has a name that is no path in an archive`},
		"from the root":         {zipped(renamed("/etc/passwd")...), `the member "/etc/passwd" has a name`},
		"a dot":                 {zipped(renamed("model/./x")...), `has a name that is no path`},
		"an empty name":         {zipped(renamed("")...), `the member "" has a name that is no path`},
		"two slashes":           {zipped(renamed("model//x")...), `has a name that is no path`},
		"NUL":                   {zipped(renamed("model/data.pkl\x00")...), `the member "model/data.pkl\x00" has a name`},
		"a backslash":           {zipped(renamed(`model\x`)...), `has a name that is no path`},
		"no UTF-8":              {zipped(renamed("model/\xff")...), `has a name that is no path`},
		"a comment":             {append(edited(len(file)-2, 1), 'x'), "the archive does not end in its directory"},
		"a comment's length":    {edited(len(file)-2, 1), "the archive does not end in its directory"},
		"something behind":      {append(slices.Clone(file), 0), "the archive does not end in its directory"},
		"an archive behind":     {append(slices.Clone(file), file...), "the ZIP64 end of the directory is not where it is said to be"},
		"entries":               {edited(len(file)-14, 5, 0, 5, 0), "the two ends of the directory disagree"},
		"two numbers":           {edited(len(file)-14, 5, 0), "the archive has several parts"},
		"two disks":             {edited(len(file)-18, 1), "the archive has several parts"},
		"two disks, wide":       {edited(ends+16, 1), "the archive has several parts"},
		"length":                {edited(len(file)-10, 1), "the two ends of the directory disagree"},
		"place":                 {edited(len(file)-6, 1), "the two ends of the directory disagree"},
		"wide end":              {edited(ends, 'X'), "the ZIP64 end of the directory is not where it is said to be"},
		"wide end's size":       {edited(ends+4, 45), "the ZIP64 end of the directory is not where"},
		"place of the wide end": {edited(ends+end64Size+8, 1), "the ZIP64 end of the directory is not where"},
		"2^63 entries":          {slices.Concat(edited(len(file)-14, 255, 255, 255, 255)[:ends+24], bytes.Repeat([]byte{0, 0, 0, 0, 0, 0, 0, 128}, 2), edited(len(file)-14, 255, 255, 255, 255)[ends+40:]), "9223372036854775808 entries do not fit"},
		"one entry less":        {replace(edited(len(file)-14, 3, 0, 3, 0), "\x04\x00\x00\x00\x00\x00\x00\x00\x04\x00", "\x03\x00\x00\x00\x00\x00\x00\x00\x03\x00"), "bytes follow the last entry of the archive's directory"},
		"byte order":            {zipped(append(smallModel()[:1], part{name: folder + "byteorder", content: []byte("middle")})...), `the byte order is "middle", neither little nor big`},
		"a long byte order":     {zipped(append(smallModel()[:1], part{name: folder + "byteorder", content: []byte("little and some more bytes")})...), `the byte order is "little and some ", neither`},
		"packed byte order":     {zipped(append(smallModel()[:1], part{name: folder + "byteorder", content: []byte("little"), method: deflated})...), `the member "model/byteorder" is compressed`},
		"packed pickle":         {zipped(part{name: folder + "data.pkl", content: start().op("N.").b, method: deflated}), `the member "model/data.pkl" is compressed`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse.Look(t, c.file, int64(len(c.file)))
			var w *malformed.Error
			if !errors.As(err, &w) || !strings.Contains(w.Msg, c.says) {
				t.Errorf("%v, want %s", err, c.says)
			}
		})
	}
}

// TestChecksum: a pickle that is not the one that was written.
func TestChecksum(t *testing.T) {
	for _, name := range []string{"data.pkl", "constants.pkl"} {
		file := script()
		at := int64(bytes.Index(file, []byte(folder+name))) + int64(len(folder+name)) + 6
		file[at+1] = 3 // the protocol
		_, err := parse.Look(t, file, int64(len(file)))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("at byte %d: the checksum of %q is ", at, folder+name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOverlap: members that share bytes.
func TestOverlap(t *testing.T) {
	var first int64
	parts := smallModel()
	parts[1].edit = func(w *written) { first = w.at }
	parts = append(parts, part{name: parts[1].name[:len(parts[1].name)-1] + "R", content: parts[1].content})
	parts[len(parts)-1].edit = func(w *written) { set32(w.entry, 42, uint32(first)) }
	file := zipped(parts...)
	_, err := parse.Look(t, file, int64(len(file)))
	if err == nil || !strings.Contains(err.Error(), "within the one before it") {
		t.Error(err)
	}
}

// TestBehindThePickle: what follows STOP is seen.
func TestBehindThePickle(t *testing.T) {
	p := start().small().stop()
	end := dataAt + int64(len(p.b))
	p.op("cos\nsystem\n)R.")
	file := model(p, 1)
	ix, err := parse.Look(t, file, int64(len(file)))
	if err != nil || len(ix.Findings) != 1 || ix.Findings[0].Offset != end || ix.Findings[0].Text != `14 bytes follow the pickle "model/data.pkl"` {
		t.Errorf("%+v, %v", ix, err)
	}
}

// TestStorageAlone is no tensor, and does not vanish.
func TestStorageAlone(t *testing.T) {
	file := model(start().op("](").small().storage("ByteStorage", "1", 16).op("e").stop(), 2)
	ix, err := parse.Look(t, file, int64(len(file)))
	if err != nil || len(ix.Tensors) != 1 || !slices.Equal(texts(ix), []string{`the storage "data/1" of 16 bytes is no tensor's`}) {
		t.Errorf("%+v, %v", ix, err)
	}
}

// TestBigEndian: numbers are turned round, halves of complex ones each, and bytes
// stay.
func TestBigEndian(t *testing.T) {
	add := func(class string, numel int64) func(*pickle) {
		return func(p *pickle) {
			p.rebuilt("_rebuild_tensor", v2(class, "0", numel, 1, dims([]int64{1}, []int64{1}, "")))
		}
	}
	untyped := func(class string, numel int64) func(*pickle) {
		return func(p *pickle) {
			p.rebuilt("_rebuild_tensor_v3", v2(class, "0", numel, 1, func(p *pickle) { p.nums(1).nums(1).op("\x89N").global("torch", "uint16") }))
		}
	}
	for name, c := range map[string]struct {
		add  func(*pickle)
		want []byte
	}{
		"F32":     {add("FloatStorage", 4), []byte{7, 6, 5, 4}},
		"I16":     {add("ShortStorage", 8), []byte{3, 2}},
		"I64":     {add("LongStorage", 2), []byte{15, 14, 13, 12, 11, 10, 9, 8}},
		"C64":     {add("ComplexFloatStorage", 2), []byte{11, 10, 9, 8, 15, 14, 13, 12}},
		"U8":      {add("ByteStorage", 16), []byte{1}},
		"BOOL":    {add("BoolStorage", 16), []byte{1}},
		"U16":     {untyped("ShortStorage", 8), []byte{3, 2}},
		"untyped": {untyped("UntypedStorage", 16), nil},
		"turned": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor", v2("ShortStorage", "0", 8, 0, dims([]int64{2, 2}, []int64{1, 4}, "")))
		}, []byte{1, 0, 9, 8, 3, 2, 11, 10}},
	} {
		t.Run(name, func(t *testing.T) {
			p := start()
			c.add(p)
			parts := modelParts(p.stop(), 1)
			parts[1].content = []byte("big")
			file := zipped(parts...)
			ix, err := parse.Look(t, file, int64(len(file)))
			if (err != nil) != (c.want == nil) {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			check(t, ix, int64(len(file)))
			if got := content(t, file, &ix.Tensors[0]); !bytes.Equal(got, c.want) || (ix.Tensors[0].Maker == nil) != (len(c.want) == 1) {
				t.Errorf("%v of %+v, want %v", got, ix.Tensors[0], c.want)
			}
		})
	}
}

// TestMaker: signs, and an end by the context.
func TestMaker(t *testing.T) {
	dims := []int64{3}
	flags := func(conj, neg string) string { return "\x89N}(U\x04conj" + conj + "U\x03neg" + neg + "u" }
	for _, c := range []struct {
		class, conj, neg string
		numel            int64
		signs            []int // bytes of an element
	}{
		{"ComplexFloatStorage", "\x88", "\x89", 4, []int{7}},
		{"ComplexFloatStorage", "\x89", "\x88", 4, []int{3, 7}},
		{"ComplexFloatStorage", "\x88", "\x88", 4, []int{3}},
		{"ComplexDoubleStorage", "\x88", "\x89", 4, []int{15}},
		{"FloatStorage", "\x89", "\x88", 8, []int{3}},
		{"BFloat16Storage", "\x89", "\x88", 16, []int{1}},
	} {
		width := storages[c.class].width
		p := start().rebuilt("_rebuild_tensor_v2", v2(c.class, "big", 3, 0, func(p *pickle) { p.nums(dims...).nums(1).op(flags(c.conj, c.neg)) })).stop()
		raw := make([]byte, 3*width)
		for i := range raw {
			raw[i] = byte(i)
		}
		file := zipped(append(modelParts(p, 0), part{name: folder + "data/big", content: raw})...)
		ix, err := parse.Look(t, file, int64(len(file)))
		if err != nil {
			t.Fatal(c, err)
		}
		for i := range 3 {
			for _, s := range c.signs {
				raw[i*int(width)+s] ^= 0x80
			}
		}
		if got := content(t, file, &ix.Tensors[0]); !bytes.Equal(got, raw) {
			t.Errorf("%+v: %v, want %v", c, got, raw)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := ix.Tensors[0].Maker.Make(ctx, bytes.NewReader(file), make([]byte, len(raw))); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		ctx, cancel = context.WithCancel(context.Background())
		if err := ix.Tensors[0].Maker.Make(ctx, cancelling{bytes.NewReader(file), cancel}, make([]byte, len(raw))); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := ix.Tensors[0].Maker.Make(context.Background(), bytes.NewReader(file[:60]), make([]byte, len(raw))); err == nil {
			t.Error("a file that is cut off gives a tensor")
		}
	}
}

// cancelling ends a context with its first read.
type cancelling struct {
	io.ReaderAt
	cancel func()
}

func (c cancelling) ReadAt(p []byte, off int64) (int, error) {
	c.cancel()
	return c.ReaderAt.ReadAt(p, off)
}
