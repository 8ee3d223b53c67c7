// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import "math/bits"

// maxDims is how many dimensions a tensor may have: torch's own kernels take 64.
const maxDims = 64

// tensor is a view of a storage.
type tensor struct {
	at             int64 // of the opcode that made it
	storage        *storage
	dtype          *dtype
	offset         int64   // elements
	shape, strides []value // each an int64 of 0 or more
	conj, neg      bool
	state          value // its attributes, as another object's
}

// rebuildTensor takes storage, offset, shape, strides.
func rebuildTensor(m *machine, args []value) (value, error) {
	if len(args) != 4 {
		return nil, m.errorf("a tensor of %d parts", len(args))
	}
	return m.tensor(args, nil, nil)
}

// rebuildTensorV2 takes requires_grad, hooks and perhaps metadata as well.
func rebuildTensorV2(m *machine, args []value) (value, error) {
	var metadata value
	switch len(args) {
	case 6:
	case 7:
		metadata = args[6]
	default:
		return nil, m.errorf("a tensor of %d parts", len(args))
	}
	return m.tensor(args, nil, metadata)
}

// rebuildTensorV3 takes the type of elements before the metadata.
func rebuildTensorV3(m *machine, args []value) (value, error) {
	var metadata value
	switch len(args) {
	case 7:
	case 8:
		metadata = args[7]
	default:
		return nil, m.errorf("a tensor of %d parts", len(args))
	}
	g, ok := args[6].(*global)
	if !ok || g.dtype == nil || g.storage {
		return nil, m.errorf("a tensor of elements of the type %s", describe(args[6]))
	}
	return m.tensor(args, g.dtype, metadata)
}

// tensor makes a view of a storage, and checks that it lies in it.
func (m *machine) tensor(args []value, d *dtype, metadata value) (value, error) {
	s, ok := args[0].(*storage)
	if !ok {
		return nil, m.errorf("a tensor in %s, which is no storage", describe(args[0]))
	}
	if d == nil {
		d = s.dtype
	}
	if err := m.charge(costTensor); err != nil {
		return nil, err
	}
	t := &tensor{at: m.at, storage: s, dtype: d}
	t.offset, ok = args[1].(int64)
	if !ok || t.offset < 0 {
		return nil, m.errorf("a tensor with no offset")
	}
	var err error
	if t.shape, err = m.numbers(args[2], "shape"); err != nil {
		return nil, err
	}
	if t.strides, err = m.numbers(args[3], "strides"); err != nil {
		return nil, err
	}
	if err := m.within(t); err != nil {
		return nil, err
	}
	s.rec.used = true
	if err := m.bits(t, metadata); err != nil {
		return nil, err
	}
	switch {
	case s.meta:
		return &unread{m.at, "a tensor on the device meta, which has no bytes"}, nil
	case d.d == 0:
		return &unread{m.at, "a tensor of torch." + d.name}, nil
	case m.big && d.part != s.rec.dtype.part:
		return &unread{m.at, "a tensor of torch." + d.name + " in a big-endian storage of torch." + s.rec.dtype.name}, nil
	case t.neg && d.kind == other, t.conj && d.kind != complexKind:
		return &unread{m.at, "a conjugate or negative view of torch." + d.name}, nil
	}
	return t, nil
}

// numbers returns a tuple's or list's values if they are sizes.
func (m *machine) numbers(v value, what string) ([]value, error) {
	var items []value
	switch v := v.(type) {
	case *tuple:
		items = v.items
	case *list:
		items = v.items
	default:
		return nil, m.errorf("the %s of a tensor is %s", what, describe(v))
	}
	if len(items) > maxDims {
		return nil, m.errorf("the %s of a tensor has %d dimensions, over the limit of %d", what, len(items), maxDims)
	}
	for _, x := range items {
		n, ok := x.(int64)
		if !ok {
			return nil, m.errorf("the %s of a tensor holds %s", what, describe(x))
		}
		if n < 0 {
			return nil, m.errorf("the %s of a tensor holds %d", what, n)
		}
	}
	return items, nil
}

// within checks that all elements lie in the storage: offset + Σ (size-1)·stride.
func (m *machine) within(t *tensor) error {
	if len(t.shape) != len(t.strides) {
		return m.errorf("a tensor of %d dimensions has %d strides", len(t.shape), len(t.strides))
	}
	last, over := uint64(t.offset), false
	for i, n := range t.shape {
		n := n.(int64)
		if n == 0 {
			return nil
		}
		hi, lo := bits.Mul64(uint64(n-1), uint64(t.strides[i].(int64)))
		sum, carry := bits.Add64(last, lo, 0)
		over = over || hi != 0 || carry != 0
		last = sum
	}
	if numel := t.storage.size / t.dtype.width; !t.storage.meta && (over || last >= uint64(numel)) {
		return m.errorf("a tensor of shape %v with strides %v at element %d goes over the %d elements of the storage %.100q",
			t.shape, t.strides, t.offset, numel, t.storage.rec.key)
	}
	return nil
}

// bits reads the metadata: views that are conjugate or negative without their bytes
// being so.
func (m *machine) bits(t *tensor, metadata value) error {
	switch d := metadata.(type) {
	case nil, none:
		return nil
	case *dict:
		for _, e := range d.entries {
			on, ok := e.value.(bool)
			switch {
			case ok && e.key == value(text("conj")):
				t.conj = on
			case ok && e.key == value(text("neg")):
				t.neg = on
			default:
				return m.errorf("the metadata of a tensor hold something unknown")
			}
		}
		return nil
	}
	return m.errorf("the metadata of a tensor are %s", describe(metadata))
}

// rebuildParameter takes a tensor, and what matters to training.
func rebuildParameter(m *machine, args []value) (value, error) {
	if len(args) == 0 || len(args) > 3 {
		return nil, m.errorf("a parameter of %d parts", len(args))
	}
	return m.asTensor(args[0])
}

func rebuildParameterWithState(m *machine, args []value) (value, error) {
	if len(args) != 4 {
		return nil, m.errorf("a parameter of %d parts", len(args))
	}
	v, err := m.asTensor(args[0])
	if err != nil {
		return nil, err
	}
	return m.withState(v, args[3])
}

// asTensor is a value that has to be a tensor.
func (m *machine) asTensor(v value) (value, error) {
	switch v := v.(type) {
	case *tensor, *unread:
		return v, nil
	case *opaque:
		return &unread{m.at, "a tensor made by calling " + shown(v.name)}, nil
	}
	return nil, m.errorf("a parameter of %s", describe(v))
}

// withState is a copy of a tensor with attributes.
func (m *machine) withState(v, state value) (value, error) {
	t, ok := v.(*tensor)
	if !ok || nothing(state) {
		return v, nil
	}
	if t.state != nil {
		return nil, m.errorf("a tensor is built twice")
	}
	if err := m.charge(costTensor); err != nil {
		return nil, err
	}
	c := *t
	c.state = state
	return &c, nil
}

func nothing(v value) bool {
	switch v := v.(type) {
	case nil, none:
		return true
	case *dict:
		return len(v.entries) == 0
	case *tuple:
		return len(v.items) == 0
	}
	return false
}

// rebuildFromCPU takes a tensor, its type, and the device that it was on.
func rebuildFromCPU(m *machine, args []value) (value, error) {
	if len(args) != 4 {
		return nil, m.errorf("a tensor of another device of %d parts", len(args))
	}
	v, err := m.asTensor(args[0])
	t, ok := v.(*tensor)
	if err != nil || !ok {
		return v, err
	}
	if g, ok := args[1].(*global); !ok || g.dtype != t.dtype || g.storage {
		return &unread{m.at, "a tensor of torch." + t.dtype.name + " made into another type"}, nil
	}
	return t, nil
}

// rebuildFromType takes a function, a class of tensors, the function's arguments,
// and attributes.
func rebuildFromType(m *machine, args []value) (value, error) {
	if len(args) != 4 {
		return nil, m.errorf("a tensor of a class of %d parts", len(args))
	}
	class, ok := args[1].(*global)
	if !ok {
		return nil, m.errorf("a tensor of the class %s", describe(args[1]))
	}
	v, err := m.call(args[0], args[2])
	if err != nil {
		return nil, err
	}
	if class.name != "torch.Tensor" && class.name != "torch.nn.parameter.Parameter" {
		return &unread{m.at, "a tensor of the class " + class.shown()}, nil
	}
	if v, err = m.asTensor(v); err != nil {
		return nil, err
	}
	return m.withState(v, args[3])
}

// unreadable makes tensors that cannot be shown.
func unreadable(why string) func(*machine, []value) (value, error) {
	return func(m *machine, _ []value) (value, error) {
		if err := m.charge(costTensor); err != nil {
			return nil, err
		}
		return &unread{m.at, why}, nil
	}
}
