// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/loaders/malformed"
)

// dump writes a value as Python would, as far as it goes.
func dump(v value) string {
	join := func(items []value) string {
		var all []string
		for _, x := range items {
			all = append(all, dump(x))
		}
		return strings.Join(all, ", ")
	}
	entries := func(d *dict) string {
		var all []string
		if d != nil {
			for _, e := range d.entries {
				all = append(all, dump(e.key)+": "+dump(e.value))
			}
			if d.more != nil && d.more.state != nil {
				all = append(all, "."+dump(d.more.state))
			}
		}
		return strings.Join(all, ", ")
	}
	switch v := v.(type) {
	case none:
		return "None"
	case text:
		return strconv.Quote(string(v))
	case *tuple:
		return "(" + join(v.items) + ")"
	case *list:
		return "[" + join(v.items) + "]"
	case *set:
		return "{" + join(v.items) + "}"
	case *dict:
		return "{" + entries(v) + "}"
	case *blob:
		return fmt.Sprintf("<%s %d>", v.what, v.n)
	case *global:
		return v.shown()
	case *opaque:
		s := shown(v.name) + "(" + join(v.from) + ")"
		if v.items != nil {
			s += "[" + join(v.items) + "]"
		}
		if v.entries != nil {
			s += "{" + entries(v.entries) + "}"
		}
		if v.state != nil {
			s += "." + dump(v.state)
		}
		return s
	}
	return fmt.Sprint(v)
}

// TestOpcodes runs every opcode, as Python's pickle and pickletools write and
// describe them.
func TestOpcodes(t *testing.T) {
	for _, c := range []struct{ pickle, want string }{
		// Protocol 0.
		{"N.", "None"}, {"I01\n.", "true"}, {"I00\n.", "false"}, {"I1\n.", "1"}, {"I-42\n.", "-42"}, {"L12L\n.", "12"}, {"L-3L\n.", "-3"},
		{"L119547037146038801333356L\n.", "<a long number 24>"}, {"F1.5\n.", "<a float 3>"},
		{"S'a\\x41\\n\\'\\\\'\n.", `"aA\n'\\"`}, {"S\"it's\"\n.", `"it's"`}, {"S''\n.", `""`}, {"S'\\xff'\n.", "<bytes 1>"},
		{"Va\\u00e4\\U0001f600\\n\n.", `"aä😀\\n"`}, {"V\xe4\n.", `"ä"`}, {"V\\\n.", `"\\"`},
		{"(I1\nNt.", "(1, None)"}, {"(t.", "()"}, {"(I1\nI2\nl.", "[1, 2]"}, {"(l.", "[]"}, {"(lI1\na.", "[1]"},
		{"(I1\nI2\nd.", "{1: 2}"}, {"(dI1\nI2\ns.", "{1: 2}"}, {"(I1\nI2\nI1\nI3\nd.", "{1: 3}"},
		{"(lp0\ng0\n.", "[]"}, {"I7\np12\n0g12\n.", "7"}, {"I1\n(0.", "1"}, {"I1\n(I2\nI3\n1.", "1"}, {"I1\nI2\n0.", "1"}, {"I1\n2\x86.", "(1, 1)"},
		{"(i__builtin__\nset\n.", "{}"}, {"(ccollections\nOrderedDict\no.", "{}"}, {"c__builtin__\nset\n(lI1\na\x85R.", "{1}"},
		// Protocol 1.
		{"K\x05.", "5"}, {"M\x01\x02.", "513"}, {"J\xff\xff\xff\xff.", "-1"}, {"J\x00\x00\x00\x80.", "-2147483648"}, {"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", "1.5"},
		{"U\x02ab.", `"ab"`}, {"U\x01\xff.", "<bytes 1>"}, {"T\x02\x00\x00\x00ab.", `"ab"`}, {"X\x02\x00\x00\x00\xc3\xa4.", `"ä"`},
		{").", "()"}, {"].", "[]"}, {"}.", "{}"}, {"](K\x01K\x02e.", "[1, 2]"}, {"](e.", "[]"}, {"}(K\x01K\x02K\x03Nu.", "{1: 2, 3: None}"},
		{"]q\x05K\x01\x86.", "([], 1)"}, {"K\x07r\x00\x01\x00\x000j\x00\x01\x00\x00.", "7"},
		// Protocol 2.
		{"\x80\x02\x88.", "true"}, {"\x80\x02\x89.", "false"}, {"\x8a\x00.", "0"}, {"\x8a\x01\xff.", "-1"}, {"\x8a\x02\xff\x00.", "255"}, {"\x8b\x01\x00\x00\x00\x80.", "-128"},
		{"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", "-9223372036854775808"}, {"\x8a\x09123456789.", "<a long number 9>"}, {"\x8b\x20\x00\x00\x00" + strings.Repeat("x", 32) + ".", "<a long number 32>"},
		{"N\x85.", "(None)"}, {"NK\x01\x86.", "(None, 1)"}, {"NK\x01K\x02\x87.", "(None, 1, 2)"},
		{"ccollections\nOrderedDict\n)\x81.", "{}"}, {"ccollections\nOrderedDict\n)R}K\x01Nsb.", "{.{1: None}}"},
		// Protocols 3 to 5.
		{"\x80\x03C\x02ab.", "<bytes 2>"}, {"B\x03\x00\x00\x00abc.", "<bytes 3>"}, {"\x8c\x02ab.", `"ab"`}, {"\x8d\x01\x00\x00\x00\x00\x00\x00\x00a.", `"a"`},
		{"\x8e\x01\x00\x00\x00\x00\x00\x00\x00a.", "<bytes 1>"}, {"\x96\x01\x00\x00\x00\x00\x00\x00\x00a.", "<bytes 1>"}, {"\x8f(K\x01K\x02\x90.", "{1, 2}"}, {"(K\x01\x91.", "{1}"},
		{"\x80\x04\x95\x03\x00\x00\x00\x00\x00\x00\x00K\x01.", "1"}, {"]\x94K\x01\x94h\x00h\x01\x86.", "([], 1)"}, {"\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R.", "{}"},
		{"ccollections\nOrderedDict\n)}\x92.", "{}"},
		// The list of what is known.
		{"ccollections\nOrderedDict\n](](K\x01K\x02ee\x85R.", "{1: 2}"},
		{"ccollections\nOrderedDict\n]K\x01K\x02\x86a\x85R.", "{1: 2}"}, {"ccollections\nCounter\n}K\x01K\x02s\x85R.", "{1: 2}"},
		{"ctorch\nSize\nK\x01K\x02\x86\x85R.", "(1, 2)"}, {"ctorch\nSize\n](K\x01K\x02e\x85R.", "(1, 2)"}, {"ctorch\nSize\n)R.", "()"},
		{"ctorch\ndevice\nU\x03cpu\x85R.", `torch.device(("cpu"))`}, {"c_codecs\nencode\nU\x01aU\x06latin1\x86R.", `_codecs.encode(("a", "latin1"))`},
		{"ctorch\nfloat32\n.", "torch.float32"}, {"ctorch.jit._pickle\nbuild_intlist\n]K\x01a\x85R.", "[1]"},
		// Python's keys: True is 1 is 1.0.
		{"}(K\x01NG\x3f\xf0\x00\x00\x00\x00\x00\x00K\x02\x88K\x03u.", "{1: 3}"},
		{"}(NK\x00)K\x01K\x01\x85K\x02u.", "{None: 0, (): 1, (1): 2}"},
	} {
		v, f, err := object([]byte(c.pickle))
		if err != nil || dump(v) != c.want || len(f.findings) > 0 {
			t.Errorf("%q: %s, %v, %v, want %s", c.pickle, dump(v), err, f.findings, c.want)
		}
	}
}

// TestLargeDict: an index takes over where searching one by one would be slow.
func TestLargeDict(t *testing.T) {
	p := start().op("}(")
	for i := range int64(1000) {
		p.num(i % 500).text(strconv.FormatInt(i, 10))
	}
	v, _, err := object(p.op("u").stop().b)
	d, ok := v.(*dict)
	if err != nil || !ok || len(d.entries) != 500 || d.get("3") != nil {
		t.Fatal(dump(v), err)
	}
	for i, e := range d.entries {
		if e.key != value(int64(i)) || e.value != value(text(strconv.Itoa(500+i))) {
			t.Errorf("%d: %s: %s", i, dump(e.key), dump(e.value))
		}
	}
}

// TestUnknown: what is not on the list is noted, each mention and each call, and
// nothing is called.
func TestUnknown(t *testing.T) {
	for name, c := range map[string]struct {
		pickle   string
		want     string
		findings []string
	}{
		"a call":         {"cos\nsystem\n(U\x02idtR.", `os.system(("id"))`, []string{"0 refers to os.system", "17 calls os.system: not executed"}},
		"a mention":      {"cos\nsystem\n.", "os.system", []string{"0 refers to os.system"}},
		"Python 2":       {"c__builtin__\neval\n(U\x011tR.", `builtins.eval(("1"))`, []string{"0 refers to builtins.eval", "23 calls builtins.eval: not executed"}},
		"INST":           {"(U\x02idios\nsystem\n.", `os.system(("id"))`, []string{"5 refers to os.system", "5 calls os.system: not executed"}},
		"OBJ":            {"(cos\nsystem\nU\x02ido.", `os.system(("id"))`, []string{"1 refers to os.system", "16 calls os.system: not executed"}},
		"OBJ alone":      {"(cos\nsystem\no.", `os.system()`, []string{"1 refers to os.system", "12 calls os.system: not executed"}},
		"NEWOBJ":         {"cos\nX\n)\x81}U\x01aK\x01sb.", `os.X().{"a": 1}`, []string{"0 refers to os.X", "7 calls os.X: not executed"}},
		"NEWOBJ_EX":      {"cos\nX\n)}U\x01aK\x01s\x92.", `os.X(((), {"a": 1}))`, []string{"0 refers to os.X", "14 calls os.X: not executed"}},
		"STACK_GLOBAL":   {"\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93)R.", `os.system()`, []string{"19 refers to os.system", "21 calls os.system: not executed"}},
		"EXT1":           {"\x82\x07)R.", `extension.7()`, []string{"0 refers to extension.7", "3 calls extension.7: not executed"}},
		"EXT2":           {"\x83\x07\x01.", `extension.263`, []string{"0 refers to extension.263"}},
		"EXT4":           {"\x84\xff\xff\xff\xff.", `extension.4294967295`, []string{"0 refers to extension.4294967295"}},
		"nested":         {"c__builtin__\ngetattr\n(cos\nsystem\nU\x01ntR)R.", `builtins.getattr(builtins.getattr((os.system, "n")), ())`, []string{"0 refers to builtins.getattr", "22 refers to os.system", "37 calls builtins.getattr: not executed", "39 calls the result of builtins.getattr: not executed"}},
		"a result":       {"cx\ny\ncx\nz\n)RR.", "x.y(x.z())", []string{"0 refers to x.y", "5 refers to x.z", "11 calls x.z: not executed", "12 calls x.y: not executed"}},
		"BUILD":          {"cos\nX\n}U\x01aK\x01sb.", `os.X({"a": 1})`, []string{"0 refers to os.X", "13 sets attributes of os.X: not executed"}},
		"__setstate__":   {"cos\nX\n)\x81cos\nsystem\nb.", `os.X().os.system`, []string{"0 refers to os.X", "7 calls os.X: not executed", "8 refers to os.system"}},
		"items":          {"cx\ny\n)RK\x01aU\x01kK\x02s.", `x.y()[1]{"k": 2}`, []string{"0 refers to x.y", "6 calls x.y: not executed"}},
		"set's items":    {"cx\ny\n)R(K\x01\x90.", `x.y()[1]`, []string{"0 refers to x.y", "6 calls x.y: not executed"}},
		"a dict of one":  {"ccollections\nOrderedDict\ncx\ny\n)R\x85R.", `collections.OrderedDict(x.y())`, []string{"25 refers to x.y", "31 calls x.y: not executed"}},
		"persistent":     {"cx\ny\ncx\ny\n\x86.", "(x.y, x.y)", []string{"0 refers to x.y", "5 refers to x.y"}},
		"odd names":      {"cx\ty\nz\n.", `"x\ty.z"`, []string{`0 refers to "x\ty.z"`}},
		"a long name":    {"c" + strings.Repeat("m", 200) + "\nz\n.", `"` + strings.Repeat("m", 100) + `"`, []string{`0 refers to "` + strings.Repeat("m", 100) + `"`}},
		"TorchScript's":  {"c__torch__.m\nNet\n.", "__torch__.m.Net", []string{"0 refers to __torch__.m.Net"}},
		"no such Tensor": {"ctorch\nHugeTensor\n.", "torch.HugeTensor", []string{"0 refers to torch.HugeTensor"}},
		"no dtype":       {"ctorch.cuda\nfloat32\n.", "torch.cuda.float32", []string{"0 refers to torch.cuda.float32"}},
		"hub":            {"ctorch.hub\nload\n.", "torch.hub.load", []string{"0 refers to torch.hub.load"}},
	} {
		t.Run(name, func(t *testing.T) {
			v, f, err := object([]byte(c.pickle))
			var all []string
			for _, x := range f.findings {
				all = append(all, fmt.Sprintf("%d %s", x.Offset, x.Text))
			}
			if err != nil || dump(v) != c.want || !slices.Equal(all, c.findings) {
				t.Errorf("%s, %v, %q\nwant %s, %q", dump(v), err, all, c.want, c.findings)
			}
		})
	}
}

// TestList is torch's own list of what weights_only allows (torch 2.15,
// _get_allowed_globals): none of it is a finding.
func TestList(t *testing.T) {
	for name := range strings.FieldsSeq(weightsOnly) {
		i := strings.LastIndexByte(name, '.')
		if v, f, err := object(start().global(name[:i], name[i+1:]).stop().b); err != nil || len(f.findings) > 0 {
			t.Errorf("%s: %s, %v, %v", name, dump(v), f.findings, err)
		}
	}
}

// TestBrokenPickles: each is refused at a byte and with a text.
func TestBrokenPickles(t *testing.T) {
	u64 := func(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }
	for name, c := range map[string]struct {
		pickle string
		at     int64
		msg    string
	}{
		"empty":              {"", 0, "1 bytes are needed, 0 are left"},
		"no STOP":            {"N", 1, "1 bytes are needed, 0 are left"},
		"nothing":            {".", 0, "the stack is empty"},
		"below a mark":       {"N(.", 2, "the stack is empty"},
		"no opcode":          {"N\xff.", 1, "the opcode 0xff is none"},
		"a buffer":           {"\x97.", 0, "the opcode 0x97 is none"},
		"protocol 6":         {"\x80\x06N.", 0, "a pickle of protocol 6; 0 to 5 are read"},
		"no mark":            {"Nt.", 1, "there is no mark on the stack"},
		"no mark to pop":     {"N1.", 1, "there is no mark on the stack"},
		"pop of nothing":     {"0.", 0, "the stack is empty"},
		"too few for a pair": {"N\x86.", 1, "2 values are needed, 1 are on the stack"},
		"across a mark":      {"NN(\x86.", 3, "2 values are needed, 0 are on the stack"},
		"memo":               {"h\x00.", 0, "the memo has no value 0"},
		"memo, another":      {"Nq\x000j\x00\x00\x00\x01.", 4, "the memo has no value 16777216"},
		"memo by line":       {"g-1\n.", 0, `"-1" is no number of a value in the memo`},
		"put of nothing":     {"q\x00.", 0, "the stack is empty"},
		"put 2^32":           {"Np4294967296\n.", 1, `"4294967296" is no number of a value in the memo`},
		"frame of 2^63":      {"\x95" + u64(1<<63) + "N.", 0, "a frame of 9223372036854775808 bytes, 2 are left"},
		"frame of none":      {"\x95" + u64(0) + "N.", 0, "a frame of 0 bytes, 2 are left"},
		"frame too long":     {"\x95" + u64(3) + "N.", 0, "a frame of 3 bytes, 2 are left"},
		"frame too short":    {"\x95" + u64(1) + "K\x01.", 9, "an opcode goes over the end of its frame at byte 10"},
		"STOP in a frame":    {"\x95" + u64(3) + "N.N", 10, "the pickle stops within a frame that ends at byte 12"},
		"frame in a frame":   {"\x95" + u64(10) + "\x95" + u64(1) + "N.", 9, "a frame within a frame"},
		"LONG4 of 2^31":      {"\x8b\x00\x00\x00\x80.", 0, "a number of -2147483648 bytes"},
		"LONG4 of 2^31 - 1":  {"\x8b\xff\xff\xff\x7f.", 5, "a length of 2147483647, 1 bytes are left"},
		"LONG1 cut off":      {"\x8a\x05ab.", 2, "a length of 5, 3 bytes are left"},
		"BINUNICODE8":        {"\x8d" + u64(1<<63) + "a.", 9, "a length of 9223372036854775808, 2 bytes are left"},
		"BINBYTES8":          {"\x8e" + u64(1<<40) + "a.", 9, "a length of 1099511627776, 2 bytes are left"},
		"BYTEARRAY8":         {"\x96" + u64(3) + "a.", 9, "a length of 3, 2 bytes are left"},
		"BINUNICODE":         {"X\xff\xff\xff\xffa.", 5, "a length of 4294967295, 2 bytes are left"},
		"text of 60 KiB":     {"X\x00\xf0\x00\x00a.", 5, "a length of 61440, 2 bytes are left"},
		"no UTF-8":           {"X\x01\x00\x00\x00\xff.", 0, "a string is not UTF-8"},
		"a line":             {"I12", 3, "1 bytes are needed, 0 are left"},
		"a long line":        {"I" + strings.Repeat("1", maxLine+1), 0, "a line of over 65536 bytes"},
		"no number":          {"I1x\n.", 0, `"1x" is no number`},
		"no long number":     {"L\n.", 0, `"" is no number`},
		"no quotes":          {"Sab\n.", 0, "a string without its quotes"},
		"one quote":          {"S'\n.", 0, "a string without its quotes"},
		"an escape":          {"S'\\q'\n.", 0, "a string with an escape that is none"},
		"half an escape":     {"S'\\x4'\n.", 0, "a string with an escape that is none"},
		"a short escape":     {"V\\u00\n.", 0, "a string with an escape that is none"},
		"append to a tuple":  {")Na.", 2, "something is appended to a tuple"},
		"append to None":     {"N(Ne.", 3, "something is appended to None"},
		"key in a list":      {"]NNs.", 3, "a key is set in a list"},
		"add to a list":      {"](N\x90.", 3, "something is added to a list"},
		"odd items":          {"}(Nu.", 3, "a key of a dict has no value"},
		"a list as key":      {"}]Ns.", 3, "a list is a key of a dict"},
		"a dict as key":      {"(}Nd.", 3, "a dict is a key of a dict"},
		"a set as key":       {"}\x8fNs.", 3, "a set is a key of a dict"},
		"a call of None":     {"N)R.", 2, "None is called"},
		"a call of a list":   {"])R.", 2, "a list is called"},
		"arguments":          {"cos\nsystem\nNR.", 12, "the arguments of a call are None"},
		"unknown arguments":  {"ccollections\nOrderedDict\ncx\ny\n)RR.", 32, "the arguments of collections.OrderedDict are the result of x.y"},
		"by name":            {"ccollections\nOrderedDict\n)}NNs\x92.", 30, "collections.OrderedDict is called with arguments by name"},
		"names in a list":    {"cx\ny\n)]\x92.", 7, "arguments by name in a list"},
		"OBJ of nothing":     {"(o.", 1, "an object of no class"},
		"STACK_GLOBAL":       {"NN\x93.", 2, "a global's name is None and None"},
		"BUILD of a tuple":   {")Nb.", 2, "a tuple is built"},
		"BUILD twice":        {"cx\ny\n)R}b}b.", 10, "the result of x.y is built twice"},
		"BUILD of a dict":    {"}}b.", 2, "a dict is built"},
		"a dict built twice": {"ccollections\nOrderedDict\n)R}b}b.", 30, "a dict is built twice"},
		"PERSID":             {"Pstorage\n.", 0, `the persistent id "storage" is text, no tuple`},
		"BINPERSID":          {"NQ.", 1, "a persistent id is None, no tuple"},
		"no storages here":   {")Q.", 1, "a persistent id where there are none"},
		"Size of None":       {"ctorch\nSize\nN\x85R.", 14, "torch.Size of None"},
		"dict of no pairs":   {"ccollections\nOrderedDict\n]Na\x85R.", 29, "a dict of None, which is no pair"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := object([]byte(c.pickle))
			var w *malformed.Error
			if !errors.As(err, &w) || w.Offset != c.at || w.Msg != c.msg {
				t.Errorf("%v\nwant at byte %d: %s", err, c.at, c.msg)
			}
		})
	}
}

// TestLimits: what a pickle may make.
func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		pickle []byte
		says   string
	}{
		"stack":   {bytes.Repeat([]byte("N"), maxStack+1), "over 1048576 values are on the stack"},
		"marks":   {bytes.Repeat([]byte("("), maxStack+1), "over 1048576 marks are on the stack"},
		"memo":    {append([]byte("N"), bytes.Repeat([]byte{0x94}, maxMemo+1)...), "over 1048576 values are put into the memo"},
		"unknown": {bytes.Repeat([]byte("c\n\n0"), maxFindings+maxUnknown+1), "over 1048576 mentions and calls of what is unknown"},
		"values":  {bytes.Repeat([]byte("N\x850"), 1_300_000), "what is made up to here takes over 56 MiB"},
	} {
		var err error
		taken := hostile.Allocated(64<<20, func() { _, _, err = object(c.pickle) })
		if err == nil || !strings.HasSuffix(err.Error(), c.says) || taken > 64<<20 {
			t.Errorf("%s: %v, with %d bytes, want %s", name, err, taken, c.says)
		}
	}
	full := slices.Concat(bytes.Repeat([]byte("N"), maxStack), []byte("."))
	if _, _, err := object(full); err != nil {
		t.Error(err)
	}
}
