// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"encoding/json"
	"reflect"
	"testing"
)

// FuzzParse takes whole files.
func FuzzParse(f *testing.F) {
	f.Add(sound())
	f.Add(framed(`{}`))
	f.Add(append(framed(`{`+entry("a", "F4", "[2,1]", 0, 1)+`,"__metadata__":{"a":"\u00e4"}}  `), 1))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\x7f{}"))
	f.Fuzz(func(t *testing.T, file []byte) {
		size := int64(len(file))
		if ix, err := parse.Look(t, file, size); err == nil {
			check(t, ix, size)
		}
	})
}

// FuzzHeader takes headers, whose length is right, and the size of the data. What
// is taken says the same to encoding/json.
func FuzzHeader(f *testing.F) {
	f.Add(string(sound()[prefix:len(sound())-29]), uint64(29))
	f.Add(`{"":{"shape":[2,3,1],"dtype":"C64","data_offsets":[0,48],"x":[1e5,{"a":null}]}}`, uint64(48))
	f.Add(`{`+entry("a", "F6_E2M3", "[4]", 0, 3)+`,`+entry("b", "U8", "[0]", 3, 3)+`,`+entry("c", "I64", "[]", 3, 11)+`}`, uint64(11))
	f.Add(`{`+entry(`\ud83d\ude00`, "U8", "[9223372036854775807,0]", 0, 0)+`}`, uint64(0))
	f.Add(`{`+entry("a", "U8", "[4294967296,4294967295]", 0, 1<<60)+`}`, uint64(1<<60))
	f.Fuzz(func(t *testing.T, header string, data uint64) {
		file := framed(header)
		size := int64(len(file)) + int64(data&(1<<62-1))
		ix, err := parse.Look(t, file, size)
		if err != nil {
			return
		}
		check(t, ix, size)
		var all map[string]json.RawMessage
		if err := json.Unmarshal([]byte(header), &all); err != nil {
			t.Fatalf("encoding/json does not take %q: %v", header, err)
		}
		delete(all, "__metadata__")
		if len(all) != len(ix.Tensors) {
			t.Errorf("%d tensors, encoding/json has %d", len(ix.Tensors), len(all))
		}
		for _, got := range ix.Tensors {
			var fields map[string]json.RawMessage // Go's own structs match any case
			var dtype string
			var shape, offsets []int64
			for _, err := range []error{
				json.Unmarshal(all[got.Name], &fields), json.Unmarshal(fields["dtype"], &dtype),
				json.Unmarshal(fields["shape"], &shape), json.Unmarshal(fields["data_offsets"], &offsets),
			} {
				if err != nil {
					t.Fatalf("%q: %v", got.Name, err)
				}
			}
			at := int64(len(file))
			if dtype != got.DType.String() || !reflect.DeepEqual(append([]int64{}, shape...), append([]int64{}, got.Shape...)) ||
				!reflect.DeepEqual(offsets, []int64{got.Offset - at, got.Offset + got.NBytes - at}) {
				t.Errorf("%+v, encoding/json has %s %v at %v", got, dtype, shape, offsets)
			}
		}
	})
}

// FuzzShards takes lists of shards, which say the same to encoding/json.
func FuzzShards(f *testing.F) {
	f.Add(`{"metadata":{"total_size":12},"weight_map":{"a":"model-00002-of-00002.safetensors","b":"x/y"}}`)
	f.Add(`{"weight_map":{"\u0000":"..a/...","":"ä"},"x":[[1e9,-0.5],{"":""}]}`)
	f.Add(`{"weight_map":{"a":"x/../../y"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseShards.Look(t, []byte(text), int64(len(text)))
		if err != nil {
			return
		}
		checkShards(t, l)
		var all map[string]json.RawMessage
		var files map[string]string
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			t.Fatalf("encoding/json does not take %q: %v", text, err)
		}
		if err := json.Unmarshal(all["weight_map"], &files); err != nil {
			t.Fatal(err)
		}
		if len(files) != len(l.Tensors) {
			t.Errorf("%d tensors, encoding/json has %d", len(l.Tensors), len(files))
		}
		for tensor, place := range l.Tensors {
			if files[tensor] != l.Files[place] {
				t.Errorf("%q is in %q, by encoding/json in %q", tensor, l.Files[place], files[tensor])
			}
		}
	})
}
