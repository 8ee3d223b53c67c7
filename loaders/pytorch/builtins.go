// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

// firstArgument is what TorchScript's functions return: they say a type.
func firstArgument(m *machine, args []value) (value, error) {
	if len(args) == 0 {
		return nil, m.errorf("a call without arguments")
	}
	return args[0], nil
}

// makeSize is a tuple.
func makeSize(m *machine, args []value) (value, error) {
	if len(args) == 0 {
		return emptyTuple, nil
	}
	switch v := args[0].(type) {
	case *tuple:
		return v, nil
	case *list:
		if err := m.charge(costTuple); err != nil {
			return nil, err
		}
		return &tuple{items: v.items[:len(v.items):len(v.items)]}, nil
	}
	return nil, m.errorf("torch.Size of %s", describe(args[0]))
}

// makeSet takes nothing or a list.
func makeSet(m *machine, args []value) (value, error) {
	var items []value
	if len(args) > 0 {
		switch v := args[0].(type) {
		case *list:
			items = v.items
		case *tuple:
			items = v.items
		case *set:
			items = v.items
		default:
			return m.opaque("builtins.set", args[0])
		}
	}
	if err := m.charge(costTuple); err != nil {
		return nil, err
	}
	kept, err := m.keep(items)
	return &set{items: kept}, err
}

// makeDict takes nothing, a dict, or a list of pairs, as Python 2 writes an
// OrderedDict.
func makeDict(m *machine, args []value) (value, error) {
	d, err := m.newDict()
	if err != nil {
		return nil, err
	}
	if d.ordered = true; len(args) == 0 {
		return d, nil
	}
	switch v := args[0].(type) {
	case *dict:
		for _, e := range v.entries {
			if err := m.fill(d, []value{e.key, e.value}); err != nil {
				return nil, err
			}
		}
		return d, nil
	case *list:
		for _, pair := range v.items {
			items, err := m.pair(pair)
			if err != nil {
				return nil, err
			}
			if err := m.fill(d, items); err != nil {
				return nil, err
			}
		}
		return d, nil
	}
	return m.opaque("collections.OrderedDict", args[0])
}

func (m *machine) pair(v value) ([]value, error) {
	switch v := v.(type) {
	case *tuple:
		if len(v.items) == 2 {
			return v.items, nil
		}
	case *list:
		if len(v.items) == 2 {
			return v.items, nil
		}
	}
	return nil, m.errorf("a dict of %s, which is no pair", describe(v))
}
