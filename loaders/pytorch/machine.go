// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"github.com/modelfs/modelfs/loaders/internal/cursor"
	"github.com/modelfs/modelfs/loaders/malformed"
)

// Limits of a pickle. Values as a whole are limited by maxValues.
const (
	maxPickle   = 64 << 20 // bytes
	maxStack    = 1 << 20  // values, and marks
	maxMemo     = 1 << 20  // values
	maxText     = 64 << 10 // bytes of a string that is kept; longer ones are passed over
	maxLine     = 64 << 10 // bytes of a textual argument
	maxProtocol = 5
)

// machine runs the opcodes of one pickle. The cursor is in front of the next one.
type machine struct {
	*file
	*cursor.Cursor
	load func(m *machine, id []value) (value, error) // for persistent ids

	at    int64 // of the opcode that runs
	frame int64 // where the frame ends that it is in; 0: in none
	stack []value
	marks []int // lengths of the stack at each mark
	memo  memo
	done  bool
}

// run runs up to STOP and returns the object. What else is on the stack is nobody's.
func (m *machine) run() (value, error) {
	for !m.done {
		m.at = m.Pos()
		op, err := m.Byte()
		if err != nil {
			return nil, err
		}
		f := opcodes[op]
		if f == nil {
			return nil, m.errorf("the opcode 0x%02x is none", op)
		}
		if err := f(m); err != nil {
			return nil, err
		}
		if m.frame != 0 {
			if err := m.leaveFrame(); err != nil {
				return nil, err
			}
		}
	}
	return m.pop()
}

// errorf is an error about the opcode that runs.
func (m *machine) errorf(msg string, args ...any) error {
	return malformed.At(format, m.at, msg, args...)
}

// leaveFrame: frames end where opcodes do, and hold STOP at their end if they hold
// it.
func (m *machine) leaveFrame() error {
	switch pos := m.Pos(); {
	case pos > m.frame:
		return m.errorf("an opcode goes over the end of its frame at byte %d", m.frame)
	case pos == m.frame:
		m.frame = 0
	case m.done:
		return m.errorf("the pickle stops within a frame that ends at byte %d", m.frame)
	}
	return nil
}

// charge counts what the running opcode is about to allocate.
func (m *machine) charge(n int64) error { return m.file.charge(m.at, n) }

// note notes what the running opcode does with something unknown.
func (m *machine) note(does string, with value, but string) error {
	if len(m.findings) < maxFindings {
		m.finding(m.at, "%s %s%s", does, describe(with), but)
		return nil
	}
	if m.more++; m.more > maxUnknown {
		return m.errorf("over %d mentions and calls of what is unknown", maxUnknown)
	}
	return nil
}

// double makes room for one more value, by doubling: that costs at most four times
// what is kept.
func (m *machine) double(s []value) ([]value, error) {
	if len(s) < cap(s) {
		return s, nil
	}
	n := max(16, 2*cap(s))
	if err := m.charge(costWord * int64(n)); err != nil { // the old one goes, but not at once
		return nil, err
	}
	out := make([]value, len(s), n)
	copy(out, s)
	return out, nil
}

func (m *machine) push(v value) (err error) {
	if len(m.stack) >= maxStack {
		return m.errorf("over %d values are on the stack", maxStack)
	}
	if m.stack, err = m.double(m.stack); err == nil {
		m.stack = append(m.stack, v)
	}
	return err
}

// bottom is how far the stack can be popped: to the last mark.
func (m *machine) bottom() int {
	if n := len(m.marks); n > 0 {
		return m.marks[n-1]
	}
	return 0
}

func (m *machine) pop() (value, error) {
	top := len(m.stack) - 1
	if top < m.bottom() {
		return nil, m.errorf("the stack is empty")
	}
	v := m.stack[top]
	m.stack = m.stack[:top]
	return v, nil
}

// top returns the value on top, which stays.
func (m *machine) top() (value, error) {
	v, err := m.pop()
	if err == nil {
		m.stack = m.stack[:len(m.stack)+1]
	}
	return v, err
}

// popMark returns the values above the last mark, until the next push.
func (m *machine) popMark() ([]value, error) {
	if len(m.marks) == 0 {
		return nil, m.errorf("there is no mark on the stack")
	}
	n := m.bottom()
	items := m.stack[n:]
	m.stack, m.marks = m.stack[:n], m.marks[:len(m.marks)-1]
	return items, nil
}

// popN returns the n topmost values, until the next push.
func (m *machine) popN(n int) ([]value, error) {
	at := len(m.stack) - n
	if at < m.bottom() {
		return nil, m.errorf("%d values are needed, %d are on the stack", n, len(m.stack)-m.bottom())
	}
	items := m.stack[at:]
	m.stack = m.stack[:at]
	return items, nil
}

// keep copies values off the stack.
func (m *machine) keep(items []value) ([]value, error) {
	if len(items) == 0 {
		return nil, nil
	}
	if err := m.charge(costWord * int64(len(items))); err != nil {
		return nil, err
	}
	return append(make([]value, 0, len(items)), items...), nil
}

// memo holds values by number. Writers number them from 0 or 1 on; those of a pickle
// that was made smaller afterwards have gaps.
type memo struct {
	dense  []value // nil where there is none
	sparse map[uint32]value
	n      int // values
	puts   int
}

func (m *machine) put(i uint32) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	if m.memo.puts++; m.memo.puts > maxMemo {
		return m.errorf("over %d values are put into the memo", maxMemo)
	}
	if m.memo.get(i) == nil {
		m.memo.n++
	}
	switch n := uint32(len(m.memo.dense)); {
	case i < n:
		m.memo.dense[i] = v
		return nil
	case i <= n+1:
		for uint32(len(m.memo.dense)) <= i {
			if m.memo.dense, err = m.double(m.memo.dense); err != nil {
				return err
			}
			m.memo.dense = append(m.memo.dense, nil)
		}
		m.memo.dense[i] = v
		delete(m.memo.sparse, i)
		return nil
	}
	if _, ok := m.memo.sparse[i]; !ok {
		if err := m.charge(costEntry); err != nil {
			return err
		}
	}
	if m.memo.sparse == nil {
		m.memo.sparse = make(map[uint32]value)
	}
	m.memo.sparse[i] = v
	return nil
}

// get returns nil for a number without a value.
func (o *memo) get(i uint32) value {
	if i < uint32(len(o.dense)) && o.dense[i] != nil {
		return o.dense[i]
	}
	return o.sparse[i]
}

func (m *machine) pushMemo(i uint32) error {
	v := m.memo.get(i)
	if v == nil {
		return m.errorf("the memo has no value %d", i)
	}
	return m.push(v)
}
