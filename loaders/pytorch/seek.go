// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

// markOf is the mark of a container.
func markOf(v value) *mark {
	switch v := v.(type) {
	case *tuple:
		return &v.mark
	case *list:
		return &v.mark
	case *set:
		return &v.mark
	case *dict:
		return &v.mark
	case *opaque:
		return &v.mark
	}
	return nil
}

// each gives f all values that lie in a container, keys and state among them.
func each(v value, f func(value) error) error {
	var items []value
	var entries *dict
	var state value
	switch v := v.(type) {
	case *tuple:
		items = v.items
	case *list:
		items = v.items
	case *set:
		items = v.items
	case *dict:
		entries = v
	case *opaque:
		for _, x := range v.from {
			if err := f(x); err != nil {
				return err
			}
		}
		items, entries, state = v.items, v.entries, v.state
	}
	for _, x := range items {
		if err := f(x); err != nil {
			return err
		}
	}
	if entries != nil {
		for _, e := range entries.entries {
			if err := f(e.key); err != nil {
				return err
			}
			if err := f(e.value); err != nil {
				return err
			}
		}
		if entries.more != nil && entries.more.state != nil {
			if err := f(entries.more.state); err != nil {
				return err
			}
		}
	}
	if state != nil {
		return f(state)
	}
	return nil
}

// seek marks the containers that tensors lie in, and says whether v is one of them
// or a tensor.
func (n *namer) seek(v value, depth int) (bool, error) {
	if t, ok := v.(*tensor); ok {
		if !nothing(t.state) {
			_, err := n.seek(t.state, depth+1)
			return true, err
		}
		return true, nil
	}
	if leaf(v) {
		_, ok := v.(*unread)
		return ok, nil
	}
	m := markOf(v)
	if *m != unseen {
		return *m == holding, nil
	}
	if depth > maxDepth {
		return false, n.tooDeep()
	}
	*m = seeking
	found := false
	err := each(v, func(x value) error {
		holds, err := n.seek(x, depth+1)
		found = found || holds
		return err
	})
	*m = without
	if found {
		*m = holding
	}
	return found, err
}

// leaf says whether nothing can lie in a value.
func leaf(v value) bool {
	switch v := v.(type) {
	case *tuple:
		return len(v.items) == 0
	case *list:
		return len(v.items) == 0
	case *set:
		return len(v.items) == 0
	case *dict:
		return len(v.entries) == 0 && v.more == nil
	case *opaque:
		return false
	}
	return true
}

// holds is what seek found out.
func holds(v value) bool {
	switch v.(type) {
	case nil:
		return false
	case *tensor, *unread:
		return true
	}
	if leaf(v) {
		return false
	}
	m := *markOf(v)
	return m == holding || m == inside
}
