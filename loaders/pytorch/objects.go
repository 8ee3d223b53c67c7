// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import "strconv"

// global pushes what MODULE.NAME stands for.
func (m *machine) global() error {
	g, err := m.globalLines()
	if err != nil {
		return err
	}
	return m.push(g)
}

func (m *machine) globalLines() (*global, error) {
	module, err := m.line()
	if err != nil {
		return nil, err
	}
	name, err := m.line()
	if err != nil {
		return nil, err
	}
	return m.lookUp(string(module), string(name))
}

func (m *machine) stackGlobal() error {
	items, err := m.popN(2)
	if err != nil {
		return err
	}
	module, ok := items[0].(text)
	name, okay := items[1].(text)
	if !ok || !okay {
		return m.errorf("a global's name is %s and %s", describe(items[0]), describe(items[1]))
	}
	g, err := m.lookUp(string(module), string(name))
	if err != nil {
		return err
	}
	return m.push(g)
}

// extension is a global by its number in a registry of the process that wrote it:
// nobody knows which.
func (m *machine) extension(width int) error {
	n, err := m.number(width)
	if err != nil {
		return err
	}
	g, err := m.lookUp("extension", strconv.FormatUint(n, 10))
	if err != nil {
		return err
	}
	return m.push(g)
}

// reduce makes something of a function or class and a tuple of arguments.
func (m *machine) reduce() error {
	items, err := m.popN(2)
	if err != nil {
		return err
	}
	v, err := m.call(items[0], items[1])
	if err != nil {
		return err
	}
	return m.push(v)
}

// newObjectEx is NEWOBJ with arguments by name as well.
func (m *machine) newObjectEx() error {
	items, err := m.popN(3)
	if err != nil {
		return err
	}
	names, ok := items[2].(*dict)
	if !ok {
		return m.errorf("arguments by name in %s", describe(items[2]))
	}
	args := items[1]
	if len(names.entries) > 0 { // nothing on the list takes any: the call is an unknown one
		if g, ok := items[0].(*global); ok && g.call != nil {
			return m.errorf("%s is called with arguments by name", g.shown())
		}
		both, err := m.keep(items[1:])
		if err != nil {
			return err
		}
		args = &tuple{items: both}
	}
	v, err := m.call(items[0], args)
	if err != nil {
		return err
	}
	return m.push(v)
}

// inst is a call of protocol 0: the class by name, the arguments above the mark.
func (m *machine) inst() error {
	g, err := m.globalLines()
	if err != nil {
		return err
	}
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.callItems(g, items)
}

// obj is a call of protocol 1: class and arguments above the mark.
func (m *machine) obj() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	if len(items) == 0 {
		return m.errorf("an object of no class")
	}
	return m.callItems(items[0], items[1:])
}

func (m *machine) callItems(f value, items []value) error {
	args := emptyTuple
	if len(items) > 0 {
		kept, err := m.keep(items)
		if err != nil {
			return err
		}
		args = &tuple{items: kept}
	}
	v, err := m.call(f, args)
	if err != nil {
		return err
	}
	return m.push(v)
}

// call is where a pickle would call something. What is on the list and matters makes
// a value; all else an opaque one, which remembers what it was made of.
func (m *machine) call(f, args value) (value, error) {
	switch a := args.(type) {
	case *tuple, *opaque:
	default:
		return nil, m.errorf("the arguments of a call are %s", describe(a))
	}
	switch f := f.(type) {
	case *global:
		if f.call != nil {
			t, ok := args.(*tuple)
			if !ok {
				return nil, m.errorf("the arguments of %s are %s", f.shown(), describe(args))
			}
			return f.call(m, t.items)
		}
		if !f.known {
			if err := m.note("calls", f, ": not executed"); err != nil {
				return nil, err
			}
		}
		return m.opaque(f.name, args)
	case *opaque:
		if err := m.note("calls", f, ": not executed"); err != nil {
			return nil, err
		}
		return m.opaque(f.name, f, args)
	}
	return nil, m.errorf("%s is called", describe(f))
}

func (m *machine) opaque(name string, from ...value) (value, error) {
	if err := m.charge(costOpaque); err != nil {
		return nil, err
	}
	if len(from) == 1 && from[0] == value(emptyTuple) {
		from = nil
	}
	return &opaque{name: name, from: from}, nil
}

// build sets an object's state: its attributes, or whatever its __setstate__ makes
// of it.
func (m *machine) build() error {
	items, err := m.popN(2)
	if err != nil {
		return err
	}
	state := items[1]
	switch o := items[0].(type) {
	case *opaque:
		if o.state != nil {
			return m.errorf("%s is built twice", describe(o))
		}
		o.state = state
		return m.push(o)
	case *dict:
		if !o.ordered {
			break
		}
		if o.more != nil && o.more.state != nil {
			return m.errorf("a dict is built twice")
		}
		if err := m.charge(costDict); err != nil {
			return err
		}
		o.extra().state = state
		return m.push(o)
	case *tensor, *unread:
		return m.buildTensor(o, state)
	case *global:
		if err := m.note("sets attributes of", o, ": not executed"); err != nil {
			return err
		}
		v, err := m.opaque(o.name, state)
		if err != nil {
			return err
		}
		return m.push(v)
	}
	return m.errorf("%s is built", describe(items[0]))
}

// buildTensor takes the state of a tensor of torch 0.3 and before: requires_grad,
// volatile, hooks. Any other state would change what the tensor views
// (torch/_tensor.py: Tensor.__setstate__).
func (m *machine) buildTensor(o, state value) error {
	t, ok := state.(*tuple)
	if !ok || len(t.items) != 3 {
		return m.errorf("a tensor is built of %s", describe(state))
	}
	v, err := m.withState(o, state)
	if err != nil {
		return err
	}
	return m.push(v)
}

// persistent loads what a persistent id stands for: a storage.
func (m *machine) persistent() error {
	id, err := m.pop()
	if err != nil {
		return err
	}
	t, ok := id.(*tuple)
	if !ok {
		return m.errorf("a persistent id is %s, no tuple", describe(id))
	}
	if m.load == nil {
		return m.errorf("a persistent id where there are none")
	}
	v, err := m.load(m, t.items)
	if err != nil {
		return err
	}
	return m.push(v)
}

func (m *machine) persistentLine() error {
	id, err := m.line()
	if err != nil {
		return err
	}
	return m.errorf("the persistent id %.40q is text, no tuple", id)
}
