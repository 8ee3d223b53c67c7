// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/tensors"
)

// unknown is a header whose tensor has a field that nobody knows, of the value.
func unknown(value string) string {
	return `{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":` + value + `}}`
}

// inMetadata is a header with a text in it, which is not kept.
func inMetadata(text string) string { return `{"__metadata__":{"k":"` + text + `"}}` }

// inName is a header whose tensor has a name.
func inName(name string) string { return `{` + entry(name, "U8", "[0]", 0, 0) + `}` }

func TestJSON(t *testing.T) {
	for name, value := range map[string]string{
		"true":       `true`,
		"false":      `false`,
		"null":       `null`,
		"0":          `0`,
		"-0":         `-0`,
		"number":     `-12.50e-07`,
		"exponent":   `1E+5`,
		"empty":      `[{},[],""]`,
		"nested":     `[[1,[2,{"a":[3]}]] , {"b" : {"c":{} } }]`,
		"64 deep":    strings.Repeat("[", 64) + "1" + strings.Repeat("]", 64),
		"64 objects": strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64),
		"long text":  `"` + strings.Repeat("x", 5000) + `"`,
		"many":       "[" + strings.Repeat("1,", 5000) + "1]",
	} {
		t.Run(name, func(t *testing.T) {
			if !json.Valid([]byte(value)) {
				t.Fatal("encoding/json does not take it")
			}
			file := framed(unknown(value))
			if _, err := parse.Look(t, file, int64(len(file))); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTextInPieces: texts that are not kept are looked at in pieces; a character
// may lie across any place.
func TestTextInPieces(t *testing.T) {
	for _, char := range []string{"x", "ä", "€", "😀", `\u20ac`, `\ud83d\ude00`} {
		for shift := range 8 {
			text := strings.Repeat("x", shift) + strings.Repeat(char, 3000)
			for _, header := range []string{inMetadata(text), unknown(`"` + text + `"`)} {
				file := framed(header)
				if _, err := parse(strings.NewReader(string(file)), int64(len(file))); err != nil {
					t.Fatalf("%d bytes before %s: %v", shift, char, err)
				}
			}
		}
	}
}

func TestWrongJSON(t *testing.T) {
	deep := strings.Repeat("[", 65)
	for name, c := range map[string]struct{ header, msg string }{
		"no value":             {unknown(`‸`), "no JSON value"},
		"word":                 {unknown(`‸True`), "no JSON value"},
		"NaN":                  {unknown(`‸NaN`), "no JSON value"},
		"infinity":             {unknown(`‸-Infinity`), "no JSON value"},
		"plus":                 {unknown(`‸+1`), "no JSON value"},
		"leading 0":            {unknown(`‸00`), "no JSON value"},
		"minus":                {unknown(`‸-`), "no JSON value"},
		"point at the end":     {unknown(`‸1.`), "no JSON value"},
		"point first":          {unknown(`‸.5`), "no JSON value"},
		"exponent without":     {unknown(`‸1e`), "no JSON value"},
		"exponent sign":        {unknown(`‸1e+`), "no JSON value"},
		"hexadecimal":          {unknown(`‸0x1`), "no JSON value"},
		"single quotes":        {unknown(`‸'a'`), "no JSON value"},
		"comment":              {unknown(`‸/**/1`), "no JSON value"},
		"two values":           {unknown(`1 ‸2`), `'2' where ',' or '}' should be`},
		"array without end":    {unknown(`[1‸`), `'}' where ',' or ']' should be`},
		"comma at array's end": {unknown(`[1,‸]`), "no JSON value"},
		"comma first":          {unknown(`[‸,1]`), "no JSON value"},
		"colon in array":       {unknown(`[‸1:2]`), "no JSON value"},
		"brackets mixed":       {unknown(`{"a":[1‸}]`), `'}' where ',' or ']' should be`},
		"65 deep":              {unknown(deep + `‸1` + strings.Repeat("]", 65)), "values nested deeper than 64"},
		"65 objects deep":      {unknown(strings.Repeat(`{"a":`, 65) + `‸1` + strings.Repeat("}", 65)), "values nested deeper than 64"},
		"100,000 deep":         {unknown(deep + `‸` + strings.Repeat("[", 100_000)), "values nested deeper than 64"},
		"100,000 objects deep": {unknown(strings.Repeat(`{"":`, 65) + `‸` + strings.Repeat(`{"":`, 100_000)), "values nested deeper than 64"},

		"bad UTF-8":              {inName("a\xff‸"), "a string that is not UTF-8 ends here"},
		"UTF-8 overlong":         {inName("\xc0\xaf‸"), "a string that is not UTF-8 ends here"},
		"UTF-8 surrogate":        {inName("\xed\xa0\x80‸"), "a string that is not UTF-8 ends here"},
		"UTF-8 half":             {inName("\xe2\x82‸"), "a string that is not UTF-8 ends here"},
		"UTF-8 half and escape":  {inName(`\u0061` + "\xe2\x82" + `\u0061‸`), "a string that is not UTF-8 ends here"},
		"bad UTF-8 in metadata":  {inMetadata("a\xff‸"), "a string that is not UTF-8 ends here"},
		"bad UTF-8, first piece": {inMetadata("\xff" + strings.Repeat("x", 1023) + "‸x" + strings.Repeat("x", 9)), "a string is not UTF-8"},
		"continuations, pieces":  {inMetadata(strings.Repeat("\x80", 1024) + "‸\x80" + strings.Repeat("\x80", 9)), "a string is not UTF-8"},
		"half at a piece's end":  {inMetadata(strings.Repeat("x", 1023) + "\xe2\x82" + strings.Repeat("x", 1022) + "‸x"), "a string is not UTF-8"},
		"control character":      {inName("a‸\nb"), "a control character in a string"},
		"NUL":                    {inName("a‸\x00b"), "a control character in a string"},
		"unknown escape":         {inName(`a\‸x`), `'x' after a backslash`},
		"escape in capitals":     {inName(`a\‸U0041`), `'U' after a backslash`},
		"hexadecimal digit":      {inName(`a\u00‸g0`), `'g' in \u`},
		"escape cut off":         {inName(`a\u00‸`), `'"' in \u`},
		"first half alone":       {inName(`\ud83d‸`), "half of a surrogate pair"},
		"first half and text":    {inName(`\ud83d\‸n`), "half of a surrogate pair"},
		"first half twice":       {inName(`\ud83d\ud83‸d`), "half of a surrogate pair"},
		"second half first":      {inName(`\ude00\ud83‸d`), "half of a surrogate pair"},
		"half and no digits":     {inName(`\ud83d\u‸x`), `'x' in \u`},
		"half, and the end":      {`{"\ud83d‸`, "1 bytes are needed, 0 are left"},
		"text without end":       {`{"abc‸`, "1 bytes are needed, 0 are left"},
		"name of 1 MiB + 1":      {inName(strings.Repeat("x", maxName) + "‸x"), fmt.Sprintf("a name of over %d bytes", maxName)},
	} {
		t.Run(name, func(t *testing.T) {
			header, at := place(t, c.header)
			if json.Valid([]byte(header)) && !strings.Contains(name, "deep") && !strings.Contains(name, "half") && !strings.Contains(name, "UTF-8") &&
				!strings.Contains(name, "continuations") && len(header) < maxName {
				t.Error("encoding/json takes it")
			}
			parse.Refuses(t, framed(header), int64(prefix+len(header)), prefix+at, c.msg)
		})
	}
}

// TestLongName: the longest name is taken.
func TestLongName(t *testing.T) {
	name := strings.Repeat("x", maxName)
	file := framed(inName(name))
	ix, err := parse.Look(t, file, int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	sameTensors(t, ix.Tensors, []tensors.Tensor{tensorAt(name, tensors.U8, int64(len(file)), 0, 0)})
}
