// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/sources"
	"github.com/modelfs/modelfs/tensors"
)

// Part names what one segment holds. It is comparable and the registry's key.
type Part struct {
	Model  string             // the model's name: pins, TTLs and limits apply to it
	File   string             // the weight file, relative to the model's folder
	Gen    sources.Generation // the content of that file
	Form   Form               // what of that file
	Tensor string             // the tensor's name; any text, the empty one too
	Index  uint64             // the index that says what of a data file the tensor is; 0: the file itself does
	As     tensors.DType      // what the tensor is converted to; 0: nothing
	Fixed  bool               // it has no origin: what is freed is gone
}

// Form says what of a weight file a part holds.
type Form uint8

// The forms. The zero value is the file itself.
const (
	File   Form = iota // the whole file, as it is
	Tensor             // the bytes of one tensor
	NPY                // one tensor with an NPY header in front
)

// String names the part in messages and in the names of segments.
func (p Part) String() string {
	if p.Form == File {
		return p.Model + "/" + p.File
	}
	name := p.Model
	if p.As != 0 {
		name += "@" + strings.ToLower(p.As.String())
	}
	name += ":" + p.Tensor
	if p.Form == NPY {
		name += ".npy"
	}
	return name
}

// Origin opens the file that a part's bytes come from. It is catalog.Model's
// method set, cut to what a load needs.
type Origin interface {
	Open(ctx context.Context, rel string) (*os.File, sources.Stat, error)
}

var _ Origin = (*catalog.Model)(nil)

// Recipe says how a part's bytes are made from its origin.
type Recipe struct {
	Part   Part
	Origin Origin
	Offset int64           // where the bytes begin in the file
	Length int64           // how many bytes follow the header
	Header []byte          // what comes before them
	Tensor *tensors.Tensor // set when its bytes lie nowhere as they are: they are gathered or made
}

// FileRecipe is the whole weight file.
func FileRecipe(m *catalog.Model, rel string, gen sources.Generation) Recipe {
	return Recipe{
		Part:   Part{Model: m.Name(), File: rel, Gen: gen, Fixed: m.Published()},
		Origin: m,
		Length: gen.Size,
	}
}

// TensorRecipe is one tensor of a weight file, with its NPY header if npy.
func TensorRecipe(m *catalog.Model, t *tensors.Tensor, gen sources.Generation, npy bool) (Recipe, error) {
	r := Recipe{
		Part:   Part{Model: m.Name(), File: t.File, Gen: gen, Form: Tensor, Tensor: t.Name},
		Origin: m,
		Offset: t.Offset,
		Length: t.NBytes,
	}
	if npy {
		h, err := tensors.NPYHeader(t)
		if err != nil {
			return Recipe{}, fmt.Errorf("header of %s: %w", r.Part, err)
		}
		r.Header, r.Part.Form = h, NPY
	}
	if t.Maker != nil || !t.Contiguous() {
		r.Tensor = t
	}
	return r, nil
}

// Size is what the segment holds, in bytes.
func (r Recipe) Size() int64 { return int64(len(r.Header)) + r.Length }
