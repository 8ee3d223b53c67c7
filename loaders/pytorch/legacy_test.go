// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestLegacy(t *testing.T) {
	file := soundLegacy()
	ix, err := parse.Look(t, file, int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	check(t, ix, int64(len(file)))
	at := int64(len(file)) - 16
	want := []string{fmt.Sprintf("a F32[4] @%d", at), fmt.Sprintf("b F32[2] @%d", at+8)}
	if got := listed(ix); !slices.Equal(got, want) || len(ix.Findings) > 0 {
		t.Errorf("%q, %v, want %q", got, ix.Findings, want)
	}
}

// TestLegacyForms: other ways to write the same.
func TestLegacyForms(t *testing.T) {
	object := func() *pickle {
		p := start()
		return legacyTensor(p, "7", 4, 0, 4, nil)
	}
	of := func(p *pickle) []byte { return legacyFile(p.stop(), keys([]string{"7"}, 4)...) }
	module := start().op("(").text("module").global("my", "Net").op("NNtQ)\x81}").text("w")
	module = legacyTensor(module, "7", 4, 0, 4, nil).op("sb")
	two := legacyTensor(legacyTensor(start().op("("), "9", 2, 0, 2, nil), "10", 3, 1, 2, nil).op("t").stop()
	for name, c := range map[string]struct {
		file     []byte
		want     string
		findings string
	}{
		"protocol 4":     {slices.Concat([]byte("\x80\x04\x95\x0d\x00\x00\x00\x00\x00\x00\x00\x8a\n\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."), of(object())[15:]), "tensor F32[4] @AT", ""},
		"protocol 1":     {slices.Concat([]byte("L119547037146038801333356L\n.M\xe9\x03.(d."), of(object())[legacyAt:]), "tensor F32[4] @AT", ""},
		"a module":       {of(module), "w F32[4] @AT", "refers to my.Net, calls my.Net: not executed"},
		"something more": {append(of(object()), "abc"...), "tensor F32[4] @AT-3", "3 bytes follow the last storage"},
		"two storages":   {legacyFile(two, keys([]string{"10", "9"}, 3, 2)...), "0 F32[2] @AT+8, 1 F32[2] @AT-8", ""},
	} {
		t.Run(name, func(t *testing.T) {
			ix, err := parse.Look(t, c.file, int64(len(c.file)))
			if err != nil {
				t.Fatal(err)
			}
			check(t, ix, int64(len(c.file)))
			want := c.want
			for _, n := range []int{-8, -3, 8} {
				want = strings.ReplaceAll(want, fmt.Sprintf("@AT%+d", n), fmt.Sprintf("@%d", len(c.file)-16+n))
			}
			want = strings.ReplaceAll(want, "@AT", fmt.Sprintf("@%d", len(c.file)-16))
			if got := strings.Join(listed(ix), ", "); got != want || strings.Join(texts(ix), ", ") != c.findings {
				t.Errorf("%q, %q, want %q, %q", got, texts(ix), want, c.findings)
			}
		})
	}
}

func TestBrokenLegacy(t *testing.T) {
	whole := func(p *pickle, after []byte) []byte { return legacyFile(p.stop(), after...) }
	object := func() *pickle { return legacyTensor(start(), "7", 4, 0, 4, nil) }
	view := func(ops func(*pickle)) []byte {
		return whole(legacyTensor(start(), "7", 4, 0, 1, ops), keys([]string{"7"}, 4))
	}
	pair := func(a, b func(*pickle)) []byte {
		p := legacyTensor(start().op("("), "7", 4, 0, 1, a)
		return whole(legacyTensor(p, "7", 4, 0, 1, b).op("t"), keys([]string{"7"}, 4))
	}
	v := func(from, n int64) func(*pickle) {
		return func(p *pickle) { p.op("(").text("v").num(from).num(n).op("t") }
	}
	for name, c := range map[string]struct {
		file []byte
		says string
	}{
		"another pickle":     {[]byte("\x80\x02}U\x01aK\x01s."), "at byte 0: it is a pickle, but none of PyTorch's"},
		"a cut pickle":       {[]byte("\x80\x04}"), "at byte 0: it is a pickle, but none of PyTorch's"},
		"another number":     {[]byte("\x80\x02\x8a\n\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x18."), "at byte 0: it is a pickle, but none of PyTorch's"},
		"a call":             {[]byte("\x80\x02cos\nsystem\nU\x02id\x85R."), "at byte 0: it is a pickle, but none of PyTorch's"},
		"text":               {[]byte("version https://git-lfs.github.com/spec/v1\n"), `it is neither a zip archive nor a pickle: it begins with "version https://"`},
		"nothing":            {nil, `it is neither a zip archive nor a pickle: it begins with ""`},
		"GGML":               {[]byte("lmgg\x00\x00\x00\x00"), `it begins with "lmgg\x00\x00\x00\x00"`},
		"tar":                {slices.Concat(make([]byte, 257), []byte("ustar\x0000"), make([]byte, 300)), "it is a tar archive, as torch wrote them before 2017"},
		"protocol 1 cut":     {[]byte(magicText), "at byte 28: 1 bytes are needed, 0 are left"},
		"version":            {slices.Concat(soundLegacy()[:18], []byte{0xea}, soundLegacy()[19:]), "at byte 15: a file of a version that is not 1001"},
		"keys":               {whole(object(), start().op("}.").b), "the keys of the storages are a dict"},
		"no keys":            {whole(object(), nil), "1 bytes are needed, 0 are left"},
		"another key":        {whole(object(), keys([]string{"8"}, 4)), `the key "8" is no storage's`},
		"a number as key":    {whole(object(), start().op("]K\x07a.").b), `the key "" is no storage's`},
		"a key twice":        {whole(object(), keys([]string{"7", "7"}, 4, 4)), `the storage "7" is there twice`},
		"a key too few":      {whole(object(), keys(nil)), `the storage "7" of the tensor "tensor" is not in the file`},
		"a count":            {whole(object(), keys([]string{"7"}, 5)), `the storage "7" has 5 elements here and 4 in the pickle`},
		"a smaller count":    {whole(object(), keys([]string{"7"}, 3)), `the storage "7" has 3 elements here and 4 in the pickle`},
		"a count of 2^63":    {whole(object(), keys([]string{"7"}, 1<<63)), `the storage "7" has 9223372036854775808 elements here`},
		"no count":           {whole(object(), keys([]string{"7"})), "8 bytes are needed, 0 are left"},
		"cut off":            {soundLegacy()[:len(soundLegacy())-1], `the storage "77" has 16 bytes, 15 are left`},
		"an archive's id":    {whole(start().storage("FloatStorage", "7", 4), keys(nil)), "a persistent id of 5 parts"},
		"two sizes":          {whole(legacyTensor(legacyTensor(start().op("("), "7", 4, 0, 1, nil), "7", 3, 0, 1, nil).op("t"), keys([]string{"7"}, 4)), `the storage "7" has 12 bytes here and 16 before`},
		"a storage in keys":  {slices.Concat(legacyFile(object().stop()), []byte("\x80\x02]U\x01xQa.")), "a persistent id is a string, no tuple"},
		"view":               {view(func(p *pickle) { p.op("]") }), "a view of a storage is a list"},
		"view of two":        {view(func(p *pickle) { p.nums(1, 2) }), "a view of a storage of 2 parts"},
		"view of numbers":    {view(func(p *pickle) { p.nums(1, 2, 3) }), `a view of the storage "7" is not within its 4 elements`},
		"view too long":      {view(v(2, 3)), `a view of the storage "7" is not within its 4 elements`},
		"view from 2^63 - 1": {view(v(1<<63-1, 2)), `a view of the storage "7" is not within`},
		"view from -1":       {view(v(-1, 2)), `a view of the storage "7" is not within`},
		"view of -1":         {view(v(0, -1)), `a view of the storage "7" is not within`},
		"view of nothing":    {view(v(4, 0)), `goes over the 0 elements of the storage "7"`},
		"two views":          {pair(v(0, 2), v(1, 2)), `the view "v" of a storage is there twice, and differs`},
	} {
		t.Run(name, func(t *testing.T) {
			ix, err := parse.Look(t, c.file, int64(len(c.file)))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, %v, want %s", ix, err, c.says)
			}
		})
	}
	if file := pair(v(1, 2), v(1, 2)); true {
		if _, err := parse.Look(t, file, int64(len(file))); err != nil {
			t.Error(err)
		}
	}
}
