// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestShards(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		files   []string
		tensors map[string]int
	}{
		"usual": {
			`{"metadata":{"total_size":12},"weight_map":{"a":"model-00002-of-00002.safetensors","b":"model-00001-of-00002.safetensors","c":"model-00002-of-00002.safetensors"}}`,
			[]string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"},
			map[string]int{"a": 1, "b": 0, "c": 1},
		},
		"no metadata":    {`{"weight_map":{"a":"b"}}`, []string{"b"}, map[string]int{"a": 0}},
		"metadata after": {"{ \"weight_map\" : { \"a\" : \"b\" } , \"metadata\" : [ { } , null ] }\n", []string{"b"}, map[string]int{"a": 0}},
		"no tensors":     {`{"weight_map":{}}`, nil, nil},
		"folders":        {`{"weight_map":{"a":"x/y/.z","b":"..x/...","c":"ä\u0020b"}}`, []string{"..x/...", "x/y/.z", "ä b"}, map[string]int{"a": 1, "b": 0, "c": 2}},
		"odd names":      {`{"weight_map":{"":"f","\u0000":"f","../x":"f"}}`, []string{"f"}, map[string]int{"": 0, "\x00": 0, "../x": 0}},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := parseShards.Look(t, []byte(c.text), int64(len(c.text)))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(l.Files, c.files) || !maps.Equal(l.Tensors, c.tensors) {
				t.Errorf("%q %v, want %q %v", l.Files, l.Tensors, c.files, c.tensors)
			}
		})
	}
}

func TestMalformedShards(t *testing.T) {
	outside := func(file string) string { return `{"weight_map":{‸"a":"` + file + `"}}` }
	for name, c := range map[string]struct{ text, msg string }{
		"empty":             {`‸`, "1 bytes are needed, 0 are left"},
		"array":             {`‸[]`, `'[' where '{' should be`},
		"no weight_map":     {`‸{"metadata":{}}`, "there is no weight_map"},
		"weight_map twice":  {`{"weight_map":{},‸"weight_map":{}}`, "weight_map is there twice"},
		"weight_map a list": {`{"weight_map":‸["a"]}`, `'[' where '{' should be`},
		"tensor twice":      {`{"weight_map":{"a":"x",‸"\u0061":"x"}}`, `the tensor "a" is there twice`},
		"file is a number":  {`{"weight_map":{"a":‸1}}`, `'1' where '"' should be`},
		"file is null":      {`{"weight_map":{"a":‸null}}`, `'n' where '"' should be`},
		"text behind":       {`{"weight_map":{}} ‸{}`, "2 bytes follow the JSON"},
		"no end":            {`{"weight_map":{"a":"x"}‸`, "1 bytes are needed, 0 are left"},
		"metadata too deep": {`{"metadata":` + strings.Repeat("[", 65) + `‸[]`, "values nested deeper than 64"},
		"bad UTF-8":         {"{\"weight_map\":{\"a\":\"\xff‸\"}}", "a string that is not UTF-8 ends here"},

		"no file":           {outside(""), `the shard "" is not below the model's folder`},
		"absolute":          {outside("/etc/passwd"), `the shard "/etc/passwd" is not below the model's folder`},
		"parent":            {outside("../x"), `the shard "../x" is not below the model's folder`},
		"parent amid":       {outside("x/../../y"), `the shard "x/../../y" is not below the model's folder`},
		"parent escaped":    {outside(`\u002e./x`), `the shard "../x" is not below the model's folder`},
		"parent at the end": {outside("x/.."), `the shard "x/.." is not below the model's folder`},
		"the folder":        {outside("."), `the shard "." is not below the model's folder`},
		"empty component":   {outside("x//y"), `the shard "x//y" is not below the model's folder`},
		"a folder":          {outside("x/"), `the shard "x/" is not below the model's folder`},
		"backslash":         {outside(`x\\y`), `the shard "x\\y" is not below the model's folder`},
		"NUL":               {outside(`x\u0000y`), `the shard "x\x00y" is not below the model's folder`},
		"long":              {outside("/" + strings.Repeat("x", 9000)), `the shard "/` + strings.Repeat("x", 99) + `" is not below the model's folder`},
	} {
		t.Run(name, func(t *testing.T) {
			text, at := place(t, c.text)
			parseShards.Refuses(t, []byte(text), int64(len(text)), at, c.msg)
		})
	}
	parseShards.Refuses(t, nil, MaxHeader+1, 0, "a list of shards of 100000001 bytes, over the limit of 100000000")
}

func TestDamagedShards(t *testing.T) {
	text := []byte(`{"metadata":{"total_size":12e0},"weight_map":{"a":"x\u00e4","b":"y"}}`)
	parseShards.Cut(t, text, len(text))
	text = append(text, " \n"...)
	parseShards.Flip(t, text, len(text), func(l *ShardIndex) { checkShards(t, l) })
	parseShards.Fail(t, text, 1)
}

// checkShards holds for every list that is taken.
func checkShards(tb testing.TB, l *ShardIndex) {
	tb.Helper()
	used := make([]bool, len(l.Files))
	for _, place := range l.Tensors {
		used[place] = true
	}
	if slices.Contains(used, false) {
		tb.Errorf("%q: a file without a tensor", l.Files)
	}
	if !slices.IsSorted(l.Files) || len(slices.Compact(slices.Clone(l.Files))) != len(l.Files) {
		tb.Errorf("%q is not sorted, or has one twice", l.Files)
	}
	for _, f := range l.Files {
		if f == "" || f[0] == '/' || strings.Contains("/"+f+"/", "/../") || strings.Contains(f, "\x00") {
			tb.Errorf("the shard %q", f)
		}
	}
}
