// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

// emptyTuple is the one that all empty tuples are. It holds nothing, so nothing is
// ever noted in it.
var emptyTuple = &tuple{}

func (m *machine) pushTuple(items []value) error {
	if len(items) == 0 {
		return m.push(emptyTuple)
	}
	if err := m.charge(costTuple); err != nil {
		return err
	}
	kept, err := m.keep(items)
	if err != nil {
		return err
	}
	return m.push(&tuple{items: kept})
}

func (m *machine) tupleOfMark() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.pushTuple(items)
}

func (m *machine) tupleOf(n int) error {
	items, err := m.popN(n)
	if err != nil {
		return err
	}
	return m.pushTuple(items)
}

func (m *machine) emptyList() error {
	if err := m.charge(costTuple); err != nil {
		return err
	}
	return m.push(&list{})
}

func (m *machine) listOfMark() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	if err := m.charge(costTuple); err != nil {
		return err
	}
	kept, err := m.keep(items)
	if err != nil {
		return err
	}
	return m.push(&list{items: kept})
}

// appendItems appends the values above the mark, or one, to a list.
func (m *machine) appendItems(many bool) error {
	items, err := m.args(many, 1)
	if err != nil {
		return err
	}
	return m.extend(items, "appended", func(to value) *[]value {
		if to, ok := to.(*list); ok {
			return &to.items
		}
		return nil
	})
}

// extend adds values to what is on top of the stack: a container, whose items of says,
// or something opaque.
func (m *machine) extend(items []value, verb string, of func(value) *[]value) error {
	to, err := m.top()
	if err != nil {
		return err
	}
	have := of(to)
	if o, ok := to.(*opaque); ok {
		have = &o.items
	}
	if have == nil {
		return m.errorf("something is %s to %s", verb, describe(to))
	}
	*have, err = m.join(*have, items)
	return err
}

// args returns the values above the mark, or n.
func (m *machine) args(many bool, n int) ([]value, error) {
	if many {
		return m.popMark()
	}
	return m.popN(n)
}

func (m *machine) join(to, items []value) ([]value, error) {
	if need := len(to) + len(items); need > cap(to) {
		n := max(need, 2*cap(to))
		if err := m.charge(costWord * int64(n)); err != nil {
			return nil, err
		}
		to = append(make([]value, 0, n), to...)
	}
	return append(to, items...), nil
}

func (m *machine) newDict() (*dict, error) {
	if err := m.charge(costDict); err != nil {
		return nil, err
	}
	return &dict{}, nil
}

func (m *machine) emptyDict() error {
	d, err := m.newDict()
	if err != nil {
		return err
	}
	return m.push(d)
}

func (m *machine) dictOfMark() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	d, err := m.newDict()
	if err != nil {
		return err
	}
	if err := m.fill(d, items); err != nil {
		return err
	}
	return m.push(d)
}

// setItems sets keys to values: those above the mark, or two values.
func (m *machine) setItems(many bool) error {
	items, err := m.args(many, 2)
	if err != nil {
		return err
	}
	in, err := m.top()
	if err != nil {
		return err
	}
	switch in := in.(type) {
	case *dict:
		return m.fill(in, items)
	case *opaque:
		if in.entries == nil {
			if in.entries, err = m.newDict(); err != nil {
				return err
			}
		}
		return m.fill(in.entries, items)
	}
	return m.errorf("a key is set in %s", describe(in))
}

// fill sets keys and values, which take turns.
func (m *machine) fill(d *dict, items []value) error {
	if len(items)%2 != 0 {
		return m.errorf("a key of a dict has no value")
	}
	for i := 0; i < len(items); i += 2 {
		if !hashable(items[i]) {
			return m.errorf("%s is a key of a dict", describe(items[i]))
		}
		if err := m.charge(costEntry); err != nil {
			return err
		}
		d.set(items[i], items[i+1])
	}
	return nil
}

func (m *machine) emptySet() error {
	if err := m.charge(costTuple); err != nil {
		return err
	}
	return m.push(&set{})
}

// addItems adds the values above the mark to a set.
func (m *machine) addItems() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.extend(items, "added", func(to value) *[]value {
		if to, ok := to.(*set); ok {
			return &to.items
		}
		return nil
	})
}

func (m *machine) frozenSet() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	if err := m.charge(costTuple); err != nil {
		return err
	}
	kept, err := m.keep(items)
	if err != nil {
		return err
	}
	return m.push(&set{items: kept})
}
