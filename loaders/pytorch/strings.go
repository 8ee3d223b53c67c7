// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kinds of strings.
const (
	unicode   = iota // UTF-8
	oldString        // of Python 2: bytes, or text in UTF-8, which torch takes them for
	rawBytes
)

// text reads a string whose length is given in width bytes. What is too long to name
// anything is not kept.
func (m *machine) text(width, kind int) error {
	n, err := m.number(width)
	if err != nil {
		return err
	}
	if n > maxText || kind == rawBytes {
		if err := m.Skip(n); err != nil {
			return err
		}
		if kind == rawBytes {
			return m.pushBlob("bytes", n, nil)
		}
		return m.pushBlob("a string of over 64 KiB", n, nil)
	}
	b, err := m.Bytes(n, maxText)
	if err != nil {
		return err
	}
	return m.pushText(b, kind)
}

func (m *machine) pushText(b []byte, kind int) error {
	if !utf8.Valid(b) {
		if kind == unicode {
			return m.errorf("a string is not UTF-8")
		}
		return m.pushBlob("bytes", uint64(len(b)), nil)
	}
	if err := m.charge(int64(16 + len(b))); err != nil {
		return err
	}
	return m.push(text(b))
}

// line reads up to the end of a line, which is not part of it.
func (m *machine) line() ([]byte, error) {
	var out []byte
	for {
		b, err := m.Byte()
		if err != nil {
			return nil, err
		}
		if b == '\n' {
			return out, nil
		}
		if len(out) == maxLine {
			return nil, m.errorf("a line of over %d bytes", maxLine)
		}
		out = append(out, b)
	}
}

// byLine does something with a number in decimal.
func (m *machine) byLine(f func(*machine, uint32) error) error {
	b, err := m.line()
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(string(b), 10, 32)
	if err != nil {
		return m.errorf("%.40q is no number of a value in the memo", b)
	}
	return f(m, uint32(n))
}

// intLine reads an int, or a bool in the form of protocol 0.
func (m *machine) intLine() error {
	b, err := m.line()
	if err != nil {
		return err
	}
	switch string(b) {
	case "00":
		return m.push(false)
	case "01":
		return m.push(true)
	}
	return m.decimal(b)
}

func (m *machine) longLine() error {
	b, err := m.line()
	if err != nil {
		return err
	}
	return m.decimal(bytes.TrimSuffix(b, []byte("L")))
}

func (m *machine) decimal(b []byte) error {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err == nil {
		return m.pushInt(n)
	}
	digits := bytes.TrimPrefix(b, []byte("-"))
	if len(digits) == 0 || bytes.ContainsFunc(digits, func(r rune) bool { return r < '0' || r > '9' }) {
		return m.errorf("%.40q is no number", b)
	}
	return m.pushBlob("a long number", uint64(len(b)), nil)
}

func (m *machine) floatLine() error {
	b, err := m.line()
	if err != nil {
		return err
	}
	return m.pushBlob("a float", uint64(len(b)), nil)
}

// textLine reads a string of protocol 0: Python's repr of one, or text in which
// control characters are escaped.
func (m *machine) textLine(quoted bool) error {
	b, err := m.line()
	if err != nil {
		return err
	}
	if quoted {
		n := len(b) - 1
		if n < 1 || b[0] != '"' && b[0] != '\'' || b[n] != b[0] {
			return m.errorf("a string without its quotes")
		}
		b = b[1:n]
	}
	out, ok := unescape(b, quoted)
	switch {
	case !ok:
		return m.errorf("a string with an escape that is none")
	case quoted:
		return m.pushText(out, oldString)
	}
	return m.pushText(out, unicode)
}

// escapes are Python's, with the digits that follow.
var escapes = map[byte]int{'x': 2, 'u': 4, 'U': 8}

// unescape undoes Python's escapes; text that is not quoted has \u and \U alone, and
// is Latin-1 otherwise.
func unescape(b []byte, quoted bool) ([]byte, bool) {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		c := b[0]
		b = b[1:]
		switch {
		case c != '\\' || !quoted && (len(b) == 0 || b[0] != 'u' && b[0] != 'U'):
			if quoted {
				out = append(out, c)
			} else {
				out = utf8.AppendRune(out, rune(c))
			}
			continue
		case len(b) == 0:
			return nil, false
		}
		c, b = b[0], b[1:]
		if i := strings.IndexByte(`\'"nrt`, c); i >= 0 {
			out = append(out, "\\'\"\n\r\t"[i])
			continue
		}
		digits := escapes[c]
		if digits == 0 || quoted != (c == 'x') || len(b) < digits {
			return nil, false
		}
		n, err := strconv.ParseUint(string(b[:digits]), 16, 32)
		if err != nil || n > utf8.MaxRune {
			return nil, false
		}
		b = b[digits:]
		if quoted {
			out = append(out, byte(n))
		} else {
			out = utf8.AppendRune(out, rune(n))
		}
	}
	return out, true
}
