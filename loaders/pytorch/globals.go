// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"strconv"
	"strings"
)

// global is what a name stands for.
type global struct {
	name  string // MODULE.NAME
	known bool   // on the list: mentioning and calling it is harmless
	call  func(m *machine, args []value) (value, error)
	// dtype is the one that the name stands for, or of a storage's elements.
	dtype   *dtype
	storage bool // it is a class of storages
}

// shown is the name for a message: as it is if it looks like one.
func (g *global) shown() string { return shown(g.name) }

func shown(name string) string {
	odd := func(r rune) bool {
		return r != '.' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}
	if len(name) > 100 || strings.ContainsFunc(name, odd) {
		return strconv.Quote(name[:min(len(name), 100)])
	}
	return name
}

// renamed are modules of Python 2, and of torch, by their present names.
var renamed = map[string]string{"__builtin__": "builtins", "copy_reg": "copyreg", "torch.tensor": "torch._tensor"}

// calls are those globals of torch's own list for weights_only
// (torch/_weights_only_unpickler.py: _get_allowed_globals) that make something, and
// the functions of TorchScript's pickles (torch/csrc/jit/serialization/unpickler.cpp).
var calls = map[string]func(m *machine, args []value) (value, error){
	"collections.OrderedDict": makeDict,
	"collections.Counter":     makeDict,
	"builtins.set":            makeSet,
	"torch.Size":              makeSize,

	"torch._utils._rebuild_tensor":                        rebuildTensor,
	"torch._utils._rebuild_tensor_v2":                     rebuildTensorV2,
	"torch._utils._rebuild_tensor_v3":                     rebuildTensorV3,
	"torch._utils._rebuild_parameter":                     rebuildParameter,
	"torch._utils._rebuild_parameter_with_state":          rebuildParameterWithState,
	"torch.nn.parameter.Parameter":                        rebuildParameter,
	"torch._utils._rebuild_device_tensor_from_cpu_tensor": rebuildFromCPU,
	"torch._tensor._rebuild_from_type_v2":                 rebuildFromType,
	"torch._utils._rebuild_device_tensor_from_numpy":      unreadable("a tensor made of a NumPy array"),
	"torch._utils._rebuild_qtensor":                       unreadable("a quantised tensor"),
	"torch._utils._rebuild_sparse_tensor":                 unreadable("a sparse tensor"),
	"torch._utils._rebuild_sparse_csr_tensor":             unreadable("a sparse tensor"),
	"torch._utils._rebuild_nested_tensor":                 unreadable("a nested tensor"),
	"torch._utils._rebuild_meta_tensor_no_storage":        unreadable("a tensor on the device meta, which has no bytes"),
	"torch._utils._rebuild_wrapper_subclass":              unreadable("a tensor of a subclass that has no bytes of its own"),
	"torch.Tensor":                                        unreadable("a tensor without a storage"),
	"torch.jit._pickle.build_tensor_from_id":              unreadable("a tensor of a table that is not in the file"),
	"torch.jit._pickle.build_intlist":                     firstArgument,
	"torch.jit._pickle.build_doublelist":                  firstArgument,
	"torch.jit._pickle.build_boollist":                    firstArgument,
	"torch.jit._pickle.build_tensorlist":                  firstArgument,
	"torch.jit._pickle.restore_type_tag":                  firstArgument,
}

// harmless are the globals of torch's list that make nothing of interest.
var harmless = map[string]bool{
	"_codecs.encode":                         true,
	"builtins.bytearray":                     true,
	"builtins.complex":                       true,
	"torch.device":                           true,
	"torch.storage.TypedStorage":             true,
	"torch.serialization._get_layout":        true,
	"torch.per_tensor_affine":                true,
	"torch.per_tensor_symmetric":             true,
	"torch.per_channel_affine":               true,
	"torch.per_channel_symmetric":            true,
	"torch.per_channel_affine_float_qparams": true,
}

// lookUp returns what a name stands for. What is on no list is noted.
func (m *machine) lookUp(module, name string) (*global, error) {
	if to, ok := renamed[module]; ok {
		module = to
	}
	full := module + "." + name
	g, ok := m.globals[full]
	if !ok {
		if err := m.charge(int64(costOpaque + 2*len(full))); err != nil {
			return nil, err
		}
		g = newGlobal(module, name)
		g.known = g.known || m.torchScript && strings.HasPrefix(full, "__torch__.") // a class of the archive's code
		if m.globals == nil {
			m.globals = make(map[string]*global)
		}
		m.globals[full] = g
	}
	if !g.known {
		return g, m.note("refers to", g, "")
	}
	return g, nil
}

func newGlobal(module, name string) *global {
	g := &global{name: module + "." + name}
	g.call = calls[g.name]
	g.known = g.call != nil || harmless[g.name]
	sub, ok := strings.CutPrefix(module, "torch")
	if g.known || !ok {
		return g
	}
	switch sub {
	case "", ".cuda", ".storage":
		if d, ok := storages[name]; ok {
			g.known, g.storage, g.dtype = true, true, d
		} else if d, ok := dtypes[name]; ok && sub == "" {
			g.known, g.dtype = true, d
		}
	}
	switch sub {
	case "", ".cuda", ".sparse", ".cuda.sparse": // torch.FloatTensor and its kind
		if storages[strings.TrimSuffix(name, "Tensor")+"Storage"] != nil && strings.HasSuffix(name, "Tensor") {
			g.known, g.call = true, unreadable("a tensor without a storage, or a sparse one")
		}
	}
	return g
}
