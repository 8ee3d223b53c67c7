// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"slices"
	"strings"
	"sync"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/tensors"
	"github.com/modelfs/modelfs/tensors/convert"
)

// variant is a type that a model's tensors are converted to; the zero value is none:
// they are as they are. tensors/<model>@f32/ is a model's variant.
type variant struct{ dtype tensors.DType }

// marker begins a variant in a name.
const marker = "@"

// suffix is what a variant appends to the model's name.
func (v variant) suffix() string {
	if v.dtype == 0 {
		return ""
	}
	return marker + strings.ToLower(v.dtype.String())
}

// VariantNames are what --variants takes: f32, f16, bf16.
func VariantNames() []string {
	var out []string
	for _, d := range convert.Targets() {
		out = append(out, strings.TrimPrefix(variant{d}.suffix(), marker))
	}
	return out
}

// cutVariant splits a name into a model's and a variant; false if it has none.
func cutVariant(name string) (string, variant, bool) {
	for _, d := range convert.Targets() {
		v := variant{d}
		if model, ok := strings.CutSuffix(name, v.suffix()); ok && model != "" {
			return model, v, true
		}
	}
	return name, variant{}, false
}

// of is a tensor as the variant shows it.
func (v variant) of(t *tensors.Tensor) *tensors.Tensor {
	if v.dtype == 0 {
		return t
	}
	return convert.Precision(t, v.dtype)
}

// index is that of all tensors.
func (v variant) index(ix *tensors.Index) *tensors.Index {
	if v.dtype == 0 {
		return ix
	}
	out := &tensors.Index{Tensors: make([]tensors.Tensor, len(ix.Tensors)), Findings: ix.Findings}
	for i := range ix.Tensors {
		out.Tensors[i] = *v.of(&ix.Tensors[i])
	}
	return out
}

// asked are the variants that listings show: those that the configuration names, for
// one model or for all, and those of which something was opened.
type asked struct {
	everywhere []variant // immutable

	mu     sync.RWMutex
	models map[string][]variant
}

func newAsked(names []string) *asked {
	a := &asked{models: make(map[string][]variant)}
	for _, name := range names {
		if model, v, ok := cutVariant(name); ok {
			a.opened(model, v)
		} else if _, v, ok := cutVariant("x" + marker + name); ok {
			a.everywhere = append(a.everywhere, v)
		}
	}
	return a
}

// opened notes that somebody has something of a model's variant.
func (a *asked) opened(model string, v variant) {
	if v.dtype == 0 || a.has(model, v) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.models[model] = append(a.models[model], v)
}

func (a *asked) has(model string, v variant) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Contains(a.everywhere, v) || slices.Contains(a.models[model], v)
}

// entries are what a listing shows beside a model.
func (a *asked) entries(model, name string) []fs.DirEntry {
	var out []fs.DirEntry
	for _, d := range convert.Targets() {
		if v := (variant{d}); a.has(model, v) {
			out = append(out, fs.DirEntry{Name: name + v.suffix(), Folder: true})
		}
	}
	return out
}
