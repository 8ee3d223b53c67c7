// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/modelfs/modelfs/tensors"
)

// maxValue bounds a key and a value of external data, in bytes: a path is longest.
const maxValue = 4096

// external places a tensor whose data lie in another file. onnx's own helper took
// any key for an attribute of an object (CVE-2026-34445), and a path out of the
// model's folder (CVE-2022-25882).
func (p *parser) external(out *tensors.Tensor, t *tensor) error {
	said := make(map[string]string, 4)
	at := t.at.at
	for _, m := range t.entries {
		key, value, err := p.entry(m)
		if err != nil {
			return err
		}
		switch key {
		case "location", "offset", "length", "checksum":
		default:
			return p.Errorf(m.at, "the tensor %.100q has external data with the key %.100q", out.Name, key)
		}
		if _, twice := said[key]; twice {
			return p.Errorf(m.at, "the tensor %.100q has external data with two of the key %s", out.Name, key)
		}
		said[key] = value
	}
	location := said["location"]
	if why := local(location); why != "" {
		return p.Errorf(at, "the tensor %.100q lies in %.200q, which %s", out.Name, location, why)
	}
	out.File = path.Join(path.Dir(p.name), location)
	if out.File == p.name {
		return p.Errorf(at, "the tensor %.100q has external data in the model's own file", out.Name)
	}
	if text, ok := said["offset"]; ok {
		n, ok := decimal(text)
		if !ok {
			return p.Errorf(at, "the tensor %.100q lies at the offset %.100q", out.Name, text)
		}
		out.Offset = n
	}
	if out.Offset+out.NBytes < 0 {
		return p.Errorf(at, "the tensor %.100q ends behind byte 2^63", out.Name)
	}
	if text, ok := said["length"]; ok {
		if n, ok := decimal(text); !ok || n != out.NBytes {
			return p.Errorf(at, "the tensor %.100q has %.100q bytes, %s%v needs %d", out.Name, text, out.DType, out.Shape, out.NBytes)
		}
	}
	return nil
}

// entry reads a StringStringEntryProto.
func (p *parser) entry(m span) (key, value string, err error) {
	var was seen
	err = p.each(m, func(f field) (err error) {
		switch f.number {
		case 1:
			if err = p.once(f, wireBytes, &was); err == nil {
				key, err = p.text(f.value, maxValue)
			}
		case 2:
			if err = p.once(f, wireBytes, &was); err == nil {
				value, err = p.text(f.value, maxValue)
			}
		}
		return err
	})
	return key, value, err
}

// local says why a path may lead out of the model's folder, or to no file in it; it
// is empty for one that may be followed, provided that no link is on it.
func local(location string) string {
	drive := len(location) > 1 && location[1] == ':'
	switch {
	case location == "":
		return "is no path"
	case !utf8.ValidString(location), strings.ContainsRune(location, 0):
		return "no path can be"
	case strings.HasPrefix(location, "/"), drive:
		return "is an absolute path"
	case strings.Contains(location, `\`):
		return `has a \ in it`
	}
	last := ""
	for last = range strings.SplitSeq(location, "/") {
		if last == ".." {
			return "leads out of the folder"
		}
	}
	if last == "" || last == "." {
		return "is a folder"
	}
	return ""
}

// decimal reads a number of up to 63 bits.
func decimal(text string) (int64, bool) {
	if strings.HasPrefix(text, "+") {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n >= 0 && text[0] != '-'
}
