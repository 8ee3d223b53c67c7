// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelfs/modelfs/tensors"
)

func namesOf(ix *tensors.Index) []string {
	var all []string
	for _, t := range ix.Tensors {
		all = append(all, t.Name)
	}
	return all
}

// withTensor is a pickle with a tensor as number 0 of the memo, and nothing on the
// stack.
func withTensor() *pickle { return start().small().op("q\x000") }

// T is that tensor.
const T = "h\x00"

// TestNames: the way to a tensor is its name.
func TestNames(t *testing.T) {
	module := func(p, b, m string) string {
		return "U\x08trainingI01\nU\x0b_parameters}(" + p + "uU\x08_buffers}(" + b + "uU\x08_modules}(" + m + "u"
	}
	for name, c := range map[string]struct {
		ops  string
		want string
	}{
		"alone":             {T, "tensor"},
		"a dict":            {"}(U\x01a" + T + "U\x01b" + T + "u", "a b"},
		"nested":            {"}U\x01a}U\x03b.c" + T + "ss", "a/b.c"},
		"lists":             {"](" + T + "N(" + T + "(" + T + "tte", "0 2/0 2/1/0"},
		"ints":              {"}(K\x07" + T + "J\xff\xff\xff\xff" + T + "u", "7 -1"},
		"others":            {"}(\x88" + T + "\x89" + T + "N" + T + "u", "True False None"},
		"empty":             {"}U\x00}U\x00" + T + "ss", "/"},
		"OrderedDict":       {"ccollections\nOrderedDict\n)R(U\x01a" + T + "u}U\x09_metadataNsb", "a"},
		"its attribute":     {"ccollections\nOrderedDict\n)R(U\x01a" + T + "u}U\x01m" + T + "sb", "a m"},
		"an object":         {"cx\ny\n)\x81}(U\x01a" + T + "U\x01b](" + T + "eub", "a b/0"},
		"objects":           {"cx\ny\n)\x81}U\x01acx\ny\n)\x81}U\x01b" + T + "sbsb", "a.b"},
		"objects in a dict": {"}U\x01kcx\ny\n)\x81}U\x01acx\ny\n)\x81}U\x01b" + T + "sbsbs", "k/a.b"},
		"dict of an object": {"cx\ny\n)\x81}U\x01a}U\x01kcx\ny\n)\x81}U\x01b" + T + "sbssb", "a/k/b"},
		"slots":             {"cx\ny\n)\x81N}U\x01s" + T + "s\x86b", "s"},
		"both":              {"cx\ny\n)\x81}U\x01a" + T + "s}U\x01s" + T + "s\x86b", "a s"},
		"a module":          {"cx\nNet\n)\x81}(" + module("U\x01w"+T+"U\x01bN", "U\x01m"+T, "U\x03subcx\nNet\n)\x81}("+module("U\x01w"+T, "", "")+"ub") + "U\x05extra" + T + "ub", "w m sub.w extra"},
		"a module in":       {"}U\x03netcx\nNet\n)\x81}(" + module("U\x01w"+T, "", "U\x010cx\nNet\n)\x81}("+module("U\x01v"+T, "", "")+"ub") + "ubs", "net/w net/0.v"},
		"half a module":     {"cx\nNet\n)\x81}U\x0b_parameters}U\x01w" + T + "ssb", "_parameters/w"},
		"a part's own":      {"cx\nNet\n)\x81}(" + strings.Replace(module("", "", ""), "U\x0b_parameters}(u", "U\x0b_parametersccollections\nOrderedDict\n)R}U\x01a"+T+"sb", 1) + "ub", "_parameters.a"},
		"items of unknown":  {"cx\ndefaultdict\n)R(U\x01a" + T + "u", "a"},
		"appended":          {"cx\nlist\n)R(" + T + T + "e", "0 1"},
		"shared":            {"]q\x01" + T + "a0}(U\x01ah\x01U\x01bh\x01u", "a/0 b/0"},
		"holds itself":      {"]q\x01" + T + "ah\x01a", "0"},
		"holds its parent":  {"}q\x01(U\x01a" + T + "U\x01c}(U\x01b" + T + "U\x06parenth\x01uu", "a c/b"},
		"nothing":           {"}U\x01aK\x01s", ""},
		"unknown without":   {"}(U\x01acos\nsystem\n)RU\x01b" + T + "u", "b"},
		"deep":              {strings.Repeat("]", 900) + T + strings.Repeat("a", 900), strings.TrimSuffix(strings.Repeat("0/", 900), "/")},
	} {
		t.Run(name, func(t *testing.T) {
			p := withTensor().op(c.ops).stop()
			file := model(p, 1)
			ix, err := parse.Look(t, file, int64(len(file)))
			if err != nil {
				t.Fatal(err)
			}
			check(t, ix, int64(len(file)))
			if got := strings.Join(namesOf(ix), " "); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestAttributes: a tensor may hold others.
func TestAttributes(t *testing.T) {
	class := func(p *pickle) {
		p.global("torch._utils", "_rebuild_parameter").global("torch.nn.parameter", "Parameter").small().op("\x88N\x87}").text("grad").small().op("s")
	}
	p := start().op("}(").text("a").global("torch._tensor", "_rebuild_from_type_v2").op("(")
	class(p)
	p.op("tR").text("b").rebuilt("_rebuild_parameter_with_state", func(p *pickle) { p.small().op("\x88N}").text("main").small().op("s") }).op("u").stop()
	file := model(p, 1)
	ix, err := parse.Look(t, file, int64(len(file)))
	if err != nil || !slices.Equal(namesOf(ix), []string{"a", "a/grad", "b", "b/main"}) {
		t.Errorf("%q, %v", namesOf(ix), err)
	}
}

// TestNameless: tensors that cannot be named do not vanish.
func TestNameless(t *testing.T) {
	for name, c := range map[string]struct{ ops, msg string }{
		"twice":             {"}(K\x01" + T + "U\x011" + T + "u", `two tensors are called "1"`},
		"two ways":          {"}(U\x03a/b" + T + "U\x01a}U\x01b" + T + "su", `two tensors are called "a/b"`},
		"a tuple as key":    {"}U\x01a}K\x01\x85" + T + "ss", `a tensor in "a" lies under a key that is a tuple: it has no name`},
		"a float as key":    {"}G\x3f\xe0\x00\x00\x00\x00\x00\x00" + T + "s", `a tensor in "" lies under a key that is a float: it has no name`},
		"bytes as key":      {"}C\x01x" + T + "s", `a tensor in "" lies under a key that is bytes: it has no name`},
		"a key":             {"}U\x01a}" + T + "Nss", `a tensor lies in a key of the dict "a": it has no name`},
		"a key's tuple":     {"}" + T + "\x85Ns", `a tensor lies in a key of the dict "": it has no name`},
		"a set":             {"]\x8f(" + T + "\x90a", `a tensor lies in a set, "0": it has no name`},
		"an argument":       {"}U\x01acmy\nf\n(" + T + "tRs", `"a" is what a call of my.f makes of a tensor: it is not on the list of what is known`},
		"deep in one":       {"}U\x01acmy\nf\n(]]" + T + "aatRs", `"a" is what a call of my.f makes of a tensor: it is not on the list of what is known`},
		"by name":           {"cmy\nf\n)}U\x01a" + T + "s\x92", `"" is what a call of my.f makes of a tensor: it is not on the list of what is known`},
		"of a result":       {"cmy\nf\n(" + T + "tR)R", `"" is what a call of my.f makes of a tensor: it is not on the list of what is known`},
		"of a class":        {"cmy\nf\n}U\x01a" + T + "sb", `"" is what a call of my.f makes of a tensor: it is not on the list of what is known`},
		"harmless":          {"c_codecs\nencode\n(" + T + "tR", `"" is what a call of _codecs.encode makes of a tensor: it is not on the list of what is known`},
		"a state":           {"cmy\nf\n)\x81" + T + "b", `the state of an object of my.f, "", holds a tensor and is a tensor, no dict of attributes`},
		"a state of three":  {"cmy\nf\n)\x81NN" + T + "\x87b", `the state of an object of my.f, "", holds a tensor and is a tuple, no dict of attributes`},
		"a list as state":   {"cmy\nf\n)\x81(" + T + "lb", `the state of an object of my.f, "", holds a tensor and is a list, no dict of attributes`},
		"a pair as state":   {"cmy\nf\n)\x81N" + T + "\x86b", `the state of an object of my.f, "", holds a tensor and is a tensor, no dict of attributes`},
		"a dict's state":    {"ccollections\nOrderedDict\n)R" + T + "b", `the state of a dict, "", holds a tensor and is a tensor, no dict of attributes`},
		"a tensor's":        {"}U\x01a" + T + "NN" + T + "\x87bs", `the state of a tensor, "a", holds a tensor`},
		"state's own":       {"cmy\nf\n)\x81ccollections\nOrderedDict\n)R}U\x01a" + T + "sbb", `the attributes of an object of my.f, "", have attributes that hold a tensor`},
		"too deep":          {strings.Repeat("]", 1100) + T + strings.Repeat("a", 1100), "containers lie in each other over 1000 deep"},
		"too deep, nothing": {strings.Repeat("]", 1100) + "N" + strings.Repeat("a", 1100), "containers lie in each other over 1000 deep"},
		"sparse":            {"}U\x01actorch._utils\n_rebuild_sparse_tensor\n(" + T + "tRs", `"a" is a sparse tensor: it is not read`},
	} {
		t.Run(name, func(t *testing.T) {
			p := withTensor().op(c.ops).stop()
			file := model(p, 1)
			ix, err := parse.Look(t, file, int64(len(file)))
			if err == nil || !strings.Contains(err.Error(), c.msg) {
				t.Errorf("%v, %v\nwant %s", ix, err, c.msg)
			}
		})
	}
}

// bomb doubles what lies in the memo n times, as a tuple of twice the same.
func bomb(p *pickle, n int) *pickle {
	for i := range n {
		get := string([]byte{'h', byte(i)})
		p.op(get + get + "\x86" + string([]byte{'q', byte(i + 1)}) + "0")
	}
	return p.op(string([]byte{'h', byte(n)}))
}

// TestBombs: few bytes that make many ways, long names, or large containers are
// soon done with.
func TestBombs(t *testing.T) {
	many := func(op string, n int) *pickle { return withTensor().op(strings.Repeat(op, n)).stop() }
	keys := start().small().op("q\x000}q\x01")
	for i := range 200 { // a dict whose entries are all the dict itself, and a tensor
		keys.num(int64(i)).op("h\x01s")
	}
	links := start().small().op("q\x000(")
	for i := range 100 { // lists that hold each other
		links.op("]").op("q" + string([]byte{byte(i + 1)}))
	}
	links.op("l0")
	for i := range 100 {
		links.op("h" + string([]byte{byte(i + 1)}) + "(")
		for j := range 100 {
			links.op("h" + string([]byte{byte(j + 1)}))
		}
		links.op("e0")
	}
	links.op("h\x64h\x00ah\x010h\x01")
	wide := withTensor().op("}(")
	for i := range int64(5000) {
		wide.num(i).op("N")
	}
	wide.op("U\x01a" + T + "u")
	chain := start().small().op("q\x000(" + T) // each list holds the one before it, and the first a tensor
	for range 20_000 {
		chain.op("]h\x00a\x94q\x00")
	}
	chain.op("l")
	for name, c := range map[string]struct {
		p    *pickle
		says string // "": it is taken
	}{
		"doubling":          {bomb(withTensor(), 60).stop(), "too many names, or too long ones"},
		"doubling nothing":  {bomb(start().op("Nq\x000"), 200).stop(), ""},
		"doubling a list":   {bomb(start().op("]q\x000"), 200).stop(), ""},
		"long keys":         {start().small().op("q\x000").text(strings.Repeat("k", 60000)).op("q\x010").op(T + strings.Repeat("q\x020}h\x01h\x02s", 100)).stop(), "of a tensor has over 65536 bytes"},
		"in itself":         {keys.op("U\x01t" + T + "s").stop(), ""},
		"wide lists":        {withTensor().op("]q\x01(" + strings.Repeat("N", 20_000) + T + "e0](" + strings.Repeat("h\x01", 400) + "e").stop(), "too many ways lead to the tensors"},
		"wide dicts":        {wide.op("q\x010](" + strings.Repeat("h\x01", 400) + "e").stop(), "too many ways lead to the tensors"},
		"a chain":           {chain.stop(), "over 1000 deep"},
		"in each other":     {links.stop(), "too many"},
		"lists":             {many("]", 200_000), ""},
		"dicts":             {many("}", 200_000), ""},
		"sets":              {many("\x8f", 200_000), ""},
		"marks":             {many("(", 200_000), "the stack is empty"},
		"Nones":             {many("N", 200_000), ""},
		"memoized":          {many("N\x94", 200_000), ""},
		"memoized again":    {withTensor().op("N" + strings.Repeat("\x94", 400_000)).stop(), ""},
		"into the memo":     {withTensor().op("N" + strings.Repeat("q\x05", 400_000)).stop(), ""},
		"tuples in tuples":  {withTensor().op("N" + strings.Repeat("\x85", 300_000)).stop(), "over 1000 deep"},
		"tuples":            {many("N\x85", 200_000), ""},
		"triples":           {many("N22\x87", 100_000), ""},
		"dicts with dicts":  {many("}}NNsNs", 20_000), "a dict is a key of a dict"},
		"entries":           {withTensor().op("}" + strings.Repeat("K\x01Ns", 100_000)).stop(), ""},
		"calls":             {withTensor().op("cx\ny\nq\x01" + strings.Repeat("h\x01)R", 50_000)).stop(), ""},
		"calls of results":  {withTensor().op("cx\ny\n" + strings.Repeat(")R", 50_000)).stop(), "over 1000 deep"},
		"globals":           {many("cx\ny\n", 50_000), ""},
		"new globals":       {many("c\n\n", 50_000), ""},
		"extensions":        {many("\x82\x01", 50_000), ""},
		"tensors":           {start().global("torch._utils", "_rebuild_tensor").op("q\x01(").storage("FloatStorage", "0", 4).num(0).nums(slices.Repeat([]int64{1}, 64)...).nums(slices.Repeat([]int64{1}, 64)...).op("tq\x02" + strings.Repeat("h\x01h\x02R", 50_000)).stop(), ""},
		"tensors in a list": {start().global("torch._utils", "_rebuild_tensor").op("q\x01(").storage("FloatStorage", "0", 4).num(0).nums(slices.Repeat([]int64{1}, 64)...).nums(slices.Repeat([]int64{1}, 64)...).op("tq\x020](" + strings.Repeat("h\x01h\x02R", 50_000) + "e").stop(), "too many names, or too long ones"},
		"mentions":          {withTensor().op("](" + strings.Repeat(T, 50_000) + "e").stop(), "too many names, or too long ones"},
	} {
		t.Run(name, func(t *testing.T) {
			file := model(c.p, 1)
			begin := time.Now()
			ix, err := parse.Look(t, file, int64(len(file)))
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%.300v, want %q", err, c.says)
			}
			if err == nil {
				check(t, ix, int64(len(file)))
			}
		})
	}
}

// TestFindingsLimit: many findings are cut off, and say so.
func TestFindingsLimit(t *testing.T) {
	file := model(start().op(strings.Repeat("cx\ny\n", 5000)).stop(), 0)
	ix, err := parse(bytes.NewReader(file), int64(len(file)))
	if err != nil || len(ix.Findings) != maxFindings+1 || ix.Findings[maxFindings].Text != "4000 more findings" {
		t.Errorf("%d findings, %v", len(ix.Findings), err)
	}
}
