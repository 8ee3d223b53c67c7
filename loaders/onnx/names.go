// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package onnx

import "strconv"

// unique tells apart what has one path: the names in the model's graph stay, and of
// the others the first one's does.
func (p *parser) unique() {
	if len(p.deeper) == 0 {
		return
	}
	next := make(map[string]int)
	for _, i := range p.deeper {
		name := p.found[i].Name
		for p.taken(name) {
			n := max(2, next[p.found[i].Name])
			next[p.found[i].Name] = n + 1
			name = p.found[i].Name + "~" + strconv.Itoa(n)
		}
		p.top[name] = struct{}{}
		p.found[i].Name = name
	}
}

func (p *parser) taken(name string) bool {
	_, taken := p.top[name]
	return taken
}
