// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/modelfs/modelfs/loaders/internal/cursor"
)

// Limits of the JSON. A name longer than that is no name.
const (
	maxName  = 1 << 20
	maxDepth = 64
)

// scanner reads JSON (RFC 8259) from a cursor. Every error names the byte.
type scanner struct {
	*cursor.Cursor
	text []byte // of the last string
}

// wrong is a finding at the byte before the next one.
func (s *scanner) wrong(msg string, args ...any) error {
	return s.at(s.Pos()-1, msg, args...)
}

// space passes over whitespace.
func (s *scanner) space() error {
	for s.Left() > 0 {
		b, err := s.Peek()
		if err != nil {
			return err
		}
		switch b {
		case ' ', '\t', '\n', '\r':
			_, _ = s.Byte()
		default:
			return nil
		}
	}
	return nil
}

// next passes over whitespace and returns the next byte, which stays.
func (s *scanner) next() (byte, error) {
	if err := s.space(); err != nil {
		return 0, err
	}
	return s.Peek()
}

// expect passes over whitespace and one given byte.
func (s *scanner) expect(want byte) error {
	got, err := s.next()
	if err != nil {
		return err
	}
	if got != want {
		return s.Errorf("%q where %q should be", got, want)
	}
	_, err = s.Byte()
	return err
}

// members calls f at the value of each member of an object, after its key. The
// key's bytes are in s.text until the next string.
func (s *scanner) members(f func(keyAt int64) error) error {
	if err := s.expect('{'); err != nil {
		return err
	}
	return s.list('}', func() error {
		if _, err := s.next(); err != nil {
			return err
		}
		at := s.Pos()
		if err := s.string(true); err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		return f(at)
	})
}

// elements calls f at each element of an array.
func (s *scanner) elements(f func() error) error {
	if err := s.expect('['); err != nil {
		return err
	}
	return s.list(']', f)
}

// list reads what lies between commas, up to the end.
func (s *scanner) list(end byte, f func() error) error {
	b, err := s.next()
	if err != nil {
		return err
	}
	if b == end {
		_, err = s.Byte()
		return err
	}
	for {
		if err := f(); err != nil {
			return err
		}
		b, err := s.next()
		switch {
		case err != nil:
			return err
		case b == end:
			_, err = s.Byte()
			return err
		case b != ',':
			return s.Errorf("%q where %q or %q should be", b, ',', end)
		}
		_, _ = s.Byte()
	}
}

// string reads a string into s.text, or past it if it is not to be kept.
func (s *scanner) string(keep bool) error {
	if err := s.expect('"'); err != nil {
		return err
	}
	s.text = s.text[:0]
	for {
		b, err := s.Byte()
		switch {
		case err != nil:
			return err
		case b == '"':
			if !utf8.Valid(s.text) {
				return s.wrong("a string that is not UTF-8 ends here")
			}
			return nil
		case b < ' ':
			return s.wrong("a control character in a string")
		case b == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		default:
			s.text = append(s.text, b)
		}
		switch {
		case keep && len(s.text) > maxName:
			return s.wrong("a name of over %d bytes", maxName)
		case !keep && len(s.text) > 1024:
			if err := s.drop(); err != nil {
				return err
			}
		}
	}
}

// drop forgets the text so far of a string that is not kept, after a look at its
// UTF-8; a character that is not whole yet stays.
func (s *scanner) drop() error {
	n := len(s.text)
	for k := 1; k <= utf8.UTFMax && k <= len(s.text); k++ {
		if tail := s.text[len(s.text)-k:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				n = len(s.text) - k
			}
			break
		}
	}
	if !utf8.Valid(s.text[:n]) {
		return s.wrong("a string is not UTF-8")
	}
	s.text = append(s.text[:0], s.text[n:]...)
	return nil
}

// escape reads what follows a backslash.
func (s *scanner) escape() error {
	b, err := s.Byte()
	if err != nil {
		return err
	}
	switch b {
	case '"', '\\', '/':
		s.text = append(s.text, b)
	case 'b':
		s.text = append(s.text, '\b')
	case 'f':
		s.text = append(s.text, '\f')
	case 'n':
		s.text = append(s.text, '\n')
	case 'r':
		s.text = append(s.text, '\r')
	case 't':
		s.text = append(s.text, '\t')
	case 'u':
		r, err := s.hex()
		if err != nil {
			return err
		}
		if utf16.IsSurrogate(r) {
			if r, err = s.surrogate(r); err != nil {
				return err
			}
		}
		s.text = utf8.AppendRune(s.text, r)
	default:
		return s.wrong("%q after a backslash", b)
	}
	return nil
}

// surrogate reads the second half of a pair.
func (s *scanner) surrogate(first rune) (rune, error) {
	for _, want := range []byte{'\\', 'u'} {
		b, err := s.Byte()
		switch {
		case err != nil:
			return 0, err
		case b != want:
			return 0, s.wrong("half of a surrogate pair")
		}
	}
	second, err := s.hex()
	if err != nil {
		return 0, err
	}
	r := utf16.DecodeRune(first, second)
	if r == utf8.RuneError {
		return 0, s.wrong("half of a surrogate pair")
	}
	return r, nil
}

func (s *scanner) hex() (rune, error) {
	var r rune
	for range 4 {
		b, err := s.Byte()
		if err != nil {
			return 0, err
		}
		switch {
		case b >= '0' && b <= '9':
			b -= '0'
		case b >= 'a' && b <= 'f':
			b -= 'a' - 10
		case b >= 'A' && b <= 'F':
			b -= 'A' - 10
		default:
			return 0, s.wrong("%q in \\u", b)
		}
		r = r<<4 | rune(b)
	}
	return r, nil
}

// size reads a number that counts something: whole, not negative, below 2^63.
func (s *scanner) size() (int64, error) {
	first, err := s.next()
	if err != nil {
		return 0, err
	}
	at := s.Pos()
	var digits [20]byte
	n := 0
	after := first
	for after >= '0' && after <= '9' && n < len(digits) {
		digits[n] = after
		n++
		_, _ = s.Byte()
		if after, err = s.Peek(); err != nil {
			return 0, err
		}
	}
	v, err := strconv.ParseInt(string(digits[:n]), 10, 64)
	switch {
	case n == 0:
		return 0, s.Errorf("%q where a whole number from 0 on should be", first)
	case err != nil || n == len(digits):
		return 0, s.at(at, "a number over 63 bits")
	case n > 1 && digits[0] == '0', after == '.', after == 'e', after == 'E':
		return 0, s.at(at, "no whole number")
	}
	return v, nil
}

// skip passes over any value.
func (s *scanner) skip(depth int) error {
	if depth > maxDepth {
		return s.Errorf("values nested deeper than %d", maxDepth)
	}
	b, err := s.next()
	if err != nil {
		return err
	}
	switch b {
	case '"':
		return s.string(false)
	case '{':
		return s.members(func(int64) error { return s.skip(depth + 1) })
	case '[':
		return s.elements(func() error { return s.skip(depth + 1) })
	}
	return s.literal()
}

// literal passes over a number, true, false or null.
func (s *scanner) literal() error {
	at := s.Pos()
	var text []byte
	for s.Left() > 0 && len(text) < 400 {
		b, err := s.Peek()
		if err != nil {
			return err
		}
		if b == ',' || b == '}' || b == ']' || b <= ' ' {
			break
		}
		text = append(text, b)
		_, _ = s.Byte()
	}
	switch string(text) {
	case "true", "false", "null":
		return nil
	}
	if !number(text) {
		return s.at(at, "no JSON value")
	}
	return nil
}

// number says whether a text is a JSON number.
func number(t []byte) bool {
	digits := func() bool {
		n := 0
		for len(t) > 0 && t[0] >= '0' && t[0] <= '9' {
			t, n = t[1:], n+1
		}
		return n > 0
	}
	if len(t) > 0 && t[0] == '-' {
		t = t[1:]
	}
	zero := len(t) > 1 && t[0] == '0' && t[1] >= '0' && t[1] <= '9'
	if zero || !digits() {
		return false
	}
	if len(t) > 0 && t[0] == '.' {
		if t = t[1:]; !digits() {
			return false
		}
	}
	if len(t) > 0 && (t[0] == 'e' || t[0] == 'E') {
		t = t[1:]
		if len(t) > 0 && (t[0] == '+' || t[0] == '-') {
			t = t[1:]
		}
		if !digits() {
			return false
		}
	}
	return len(t) == 0
}
