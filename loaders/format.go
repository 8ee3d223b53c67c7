// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package loaders

import (
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/modelfs/modelfs/loaders/ggml"
	"github.com/modelfs/modelfs/loaders/gguf"
	"github.com/modelfs/modelfs/loaders/npy"
	"github.com/modelfs/modelfs/loaders/npz"
	"github.com/modelfs/modelfs/loaders/onnx"
	"github.com/modelfs/modelfs/loaders/pytorch"
	"github.com/modelfs/modelfs/loaders/safetensors"
	"github.com/modelfs/modelfs/loaders/tflite"
	"github.com/modelfs/modelfs/tensors"
)

// Format is a format of weight files.
type Format struct {
	Name       string
	Extensions []string // lower case, with the dot
	// Rank orders formats: of a model's checkpoints, the one of the lowest rank is
	// the primary one if it is alone.
	Rank int
	// Parse lists the tensors of a file of size bytes. name goes into Tensor.File.
	// It is nil for a format that is shared as a file and not looked into.
	Parse func(name string, r io.ReaderAt, size int64) (*tensors.Index, error)
	// Instead is what to do where Parse is nil, and why; or empty.
	Instead string
}

// fromHDF5 is for HDF5: docs/decisions/0004-hdf5.md says why it is not read. A .keras
// file is a zip archive with one in it.
const fromHDF5 = "no Go library reads HDF5 safely; convert it (of a .keras file: its model.weights.h5): " +
	`python -c "import h5py, safetensors.numpy as s; d = {}; h5py.File('model.h5').visititems(` +
	`lambda n, o: d.update({n: o[...]} if hasattr(o, 'dtype') else {})); s.save_file(d, 'model.safetensors')"`

// formats is the one list.
var formats = []Format{
	{"safetensors", []string{".safetensors"}, 0, safetensors.Parse, ""},
	{"GGUF", []string{".gguf"}, 1, gguf.Parse, ""},
	{"PyTorch", []string{".pt", ".pth", ".bin", ".ckpt", ".jit"}, 2, pytorchOrGGML, ""},
	{"ONNX", []string{".onnx"}, 3, onnx.Parse, ""},
	{"NPY", []string{".npy"}, 4, npy.Parse, ""},
	{"NPZ", []string{".npz"}, 4, npz.Parse, ""},
	{"Keras", []string{".keras", ".h5", ".hdf5"}, 4, nil, fromHDF5},
	{"TFLite", []string{".tflite"}, 4, tflite.Parse, ""},
	{"Flax", []string{".msgpack"}, 4, nil, ""},
	{"GGML", []string{".ggml"}, 4, ggml.Parse, ""},
}

// pytorchOrGGML reads .bin files of both kinds: their first bytes tell which.
func pytorchOrGGML(name string, r io.ReaderAt, size int64) (*tensors.Index, error) {
	is, err := ggml.Is(r)
	switch {
	case err != nil:
		return nil, err
	case is:
		return ggml.Parse(name, r, size)
	}
	return pytorch.Parse(name, r, size)
}

// Formats lists every format, the best first.
func Formats() []Format { return slices.Clone(formats) }

// leftovers are what training leaves beside the weights, in files of the same
// extensions.
var leftovers = []string{
	"training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scheduler.bin",
	"scaler.pt", "random_states_*.pkl", "rng_state*.pth",
}

// companion is the name of a file that holds data of a weight file beside it:
// model.onnx_data, model.onnx.data, model.onnx_data_1.
var companion = regexp.MustCompile(`(?i)^(.+\.onnx)[._]data([._]?\d+)?$`)

// Companion says which weight file the data in a file belong to, by the names that
// exporters give them.
func Companion(name string) (weights string, ok bool) {
	part := companion.FindStringSubmatch(name)
	if part == nil {
		return "", false
	}
	return part[1], true
}

// data is the format of companions: their tensors are listed by their weight file.
var data = Format{Name: "ONNX data", Rank: 5}

// Of returns the format of a file by its name: the extension, in any case. Names
// that begin with a dot are no weight files, nor is what training leaves.
func Of(name string) (Format, bool) {
	base := strings.ToLower(path.Base(name))
	if strings.HasPrefix(base, ".") {
		return Format{}, false
	}
	for _, pattern := range leftovers {
		if ok, _ := path.Match(pattern, base); ok {
			return Format{}, false
		}
	}
	if _, ok := Companion(base); ok {
		return data, true
	}
	ext := path.Ext(base)
	for _, f := range formats {
		if slices.Contains(f.Extensions, ext) {
			return f, true
		}
	}
	return Format{}, false
}

// Parse lists the tensors of a file. name is the file's, relative to the model's
// folder: its extension says the format, and it goes into Tensor.File.
func Parse(name string, r io.ReaderAt, size int64) (*tensors.Index, error) {
	f, ok := Of(name)
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, ErrNotWeights)
	}
	if f.Parse == nil {
		err := fmt.Errorf("%s: %w: its tensors are not shown, the file itself is under models/", f.Name, ErrUnsupported)
		if f.Instead != "" {
			err = fmt.Errorf("%w; %s", err, f.Instead)
		}
		return nil, err
	}
	return f.Parse(name, r, size)
}
