// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// metadataName is the member of a header that is no tensor.
const metadataName = "__metadata__"

// write names the files and writes their headers and the index.
func (l *Layout) write(o Options) error {
	for _, text := range slices.Sorted(maps.Keys(o.Metadata)) {
		if !utf8.ValidString(text) || !utf8.ValidString(o.Metadata[text]) || len(text) > maxName {
			return fmt.Errorf("the metadata %.100q: %.100q are not UTF-8, or too long: %w", text, o.Metadata[text], ErrUnwritable)
		}
	}
	for i := range l.Files {
		f := &l.Files[i]
		f.Name = o.Name + ".safetensors"
		if len(l.Files) > 1 {
			f.Name = fmt.Sprintf("%s-%05d-of-%05d.safetensors", o.Name, i+1, len(l.Files))
		}
		f.Header, f.Size = header(f, o.Metadata)
		if n := len(f.Header) - prefix; n > MaxHeader {
			return fmt.Errorf("%s has a header of %d bytes for %d tensors, over the limit of %d: export in smaller shards: %w",
				f.Name, n, len(f.Tensors), MaxHeader, ErrUnwritable)
		}
	}
	if len(l.Files) == 1 {
		return nil
	}
	l.IndexName, l.Index = o.Name+".safetensors.index.json", l.index()
	if len(l.Index) > MaxHeader {
		return fmt.Errorf("%s has %d bytes, over the limit of %d: %w", l.IndexName, len(l.Index), MaxHeader, ErrUnwritable)
	}
	return nil
}

// header is the beginning of a file, and the file's size.
func header(f *File, metadata map[string]string) ([]byte, int64) {
	b := make([]byte, prefix, prefix+2+100*len(f.Tensors))
	b = append(b, '{')
	if len(metadata) > 0 {
		b = appendString(b, metadataName)
		b = append(b, ':', '{')
		for _, k := range slices.Sorted(maps.Keys(metadata)) {
			b = appendString(b, k)
			b = append(b, ':')
			b = appendString(b, metadata[k])
			b = append(b, ',')
		}
		b[len(b)-1] = '}'
		b = append(b, ',')
	}
	at := int64(0)
	for i := range f.Tensors {
		t := &f.Tensors[i]
		b = appendString(b, t.Name)
		b = append(b, `:{"dtype":"`...)
		b = append(b, t.DType.String()...)
		b = append(b, `","shape":[`...)
		for j, n := range t.Shape {
			if j > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, n, 10)
		}
		b = append(b, `],"data_offsets":[`...)
		b = strconv.AppendInt(b, at, 10)
		b = append(b, ',')
		at += t.NBytes
		b = strconv.AppendInt(b, at, 10)
		b = append(b, "]},"...)
	}
	if b[len(b)-1] == ',' {
		b = b[:len(b)-1]
	}
	b = append(b, '}')
	for len(b)%PageSize != 0 {
		b = append(b, ' ')
	}
	binary.LittleEndian.PutUint64(b, uint64(len(b)-prefix))
	return b, int64(len(b)) + at
}

// index is the list of shards, the tensors in the order of their names.
func (l *Layout) index() []byte {
	files := make(map[string]string)
	for i := range l.Files {
		for j := range l.Files[i].Tensors {
			files[l.Files[i].Tensors[j].Name] = l.Files[i].Name
		}
	}
	b := []byte("{\n  \"metadata\": {\n    \"total_size\": ")
	b = strconv.AppendInt(b, l.Total, 10)
	b = append(b, "\n  },\n  \"weight_map\": {"...)
	for i, name := range slices.Sorted(maps.Keys(files)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, "\n    "...)
		b = appendString(b, name)
		b = append(b, ':', ' ')
		b = appendString(b, files[name])
	}
	return append(b, "\n  }\n}\n"...)
}

// appendString appends a JSON string; s is UTF-8.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			const digits = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
