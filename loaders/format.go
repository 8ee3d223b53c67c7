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
	// External says that a file may name other files, which hold the data of its
	// tensors.
	External bool
	// Facts are what the tables in README.md and docs/formats.md say.
	Facts Facts
}

// Facts describe a format to its users, in short texts of Markdown.
type Facts struct {
	Versions string // which forms of it there are that are read
	InPlace  string // what is mapped as it lies in the file
	Made     string // what is converted when it is loaded
	Refused  string // what makes a file malformed, or a finding
}

// fromHDF5 is for HDF5: docs/decisions/0004-hdf5.md says why it is not read. A .keras
// file is a zip archive with one in it.
const fromHDF5 = "no Go library reads HDF5 safely; convert it (of a .keras file: its model.weights.h5): " +
	`python -c "import h5py, safetensors.numpy as s; d = {}; h5py.File('model.h5').visititems(` +
	`lambda n, o: d.update({n: o[...]} if hasattr(o, 'dtype') else {})); s.save_file(d, 'model.safetensors')"`

// fromFlax is for Flax, whose arrays are extension types of MessagePack.
const fromFlax = "convert it with Flax: flax.serialization.msgpack_restore, then safetensors.flax.save_file"

// formats is the one list.
var formats = []Format{
	{
		Name: "safetensors", Extensions: []string{".safetensors"}, Rank: 0, Parse: safetensors.Parse,
		Facts: Facts{
			Versions: "all; shards by their index.json or their names",
			InPlace:  "everything",
			Refused:  "a name that is there twice, holes, overlaps, a header of over 100 MB",
		},
	},
	{
		Name: "GGUF", Extensions: []string{".gguf"}, Rank: 1, Parse: gguf.Parse,
		Facts: Facts{
			Versions: "2 and 3, little-endian; shards by their names",
			InPlace:  "everything; quantised types as their blocks",
			Refused:  "version 1, big-endian files, types that ggml has removed",
		},
	},
	{
		Name: "PyTorch", Extensions: []string{".pt", ".pth", ".bin", ".ckpt", ".jit"}, Rank: 2, Parse: pytorchOrGGML,
		Facts: Facts{
			Versions: "zip archives (since torch 1.6), the legacy form before, TorchScript; pickle protocols 0 to 5; shards by their index.json or their names",
			InPlace:  "storages of little-endian machines; views with their strides and offset, in `tensors/` contiguous",
			Made:     "tensors of big-endian machines; views with the conjugate or negative bit",
			Refused: "a tensor that depends on a call which is not on torch's own list for `weights_only` (elsewhere in a file such a call is a finding, and never executed); " +
				"tensors that are sparse, quantised, nested, on the device meta or of a subclass; compressed or encrypted archives",
		},
	},
	{
		Name: "ONNX", Extensions: []string{".onnx"}, Rank: 3, Parse: onnx.Parse, External: true,
		Facts: Facts{
			Versions: "every version of the IR; initializers, constants, subgraphs, functions; external data",
			InPlace:  "raw data, floats and doubles in one piece, external data",
			Made:     "the other typed fields",
			Refused:  "external data outside the model's folder, or reached by a symlink or a second hard link; findings: strings, sparse tensors, unknown types",
		},
	},
	{
		Name: "NPY", Extensions: []string{".npy"}, Rank: 4, Parse: npy.Parse,
		Facts: Facts{
			Versions: "1.0, 2.0, 3.0",
			InPlace:  "little-endian arrays; those in Fortran's order with strides, in `tensors/` contiguous",
			Made:     "big-endian arrays",
			Refused:  "Python objects (a pickle), records, texts, dates, long doubles",
		},
	},
	{
		Name: "NPZ", Extensions: []string{".npz"}, Rank: 4, Parse: npz.Parse,
		Facts: Facts{
			Versions: "`numpy.savez` and `numpy.savez_compressed`; ZIP64",
			InPlace:  "as NPY, of members that are stored",
			Made:     "members that are deflated; big-endian arrays",
			Refused:  "members that overlap, are encrypted or do not agree with the directory; findings: members that are no array or one that NPY refuses",
		},
	},
	{
		Name: "Keras", Extensions: []string{".keras", ".h5", ".hdf5"}, Rank: 4, Instead: fromHDF5,
		Facts: Facts{Refused: "HDF5 is shared as a file and not looked into; the error says how to convert it"},
	},
	{
		Name: "TFLite", Extensions: []string{".tflite"}, Rank: 4, Parse: tflite.Parse,
		Facts: Facts{
			Versions: "schema 3 (`TFL3`), data behind the FlatBuffer too",
			InPlace:  "every constant",
			Refused:  "offsets that lead out of their table or of the file; findings: strings, variants, sparse tensors, external buffers, unknown types",
		},
	},
	{
		Name: "Flax", Extensions: []string{".msgpack"}, Rank: 4, Instead: fromFlax,
		Facts: Facts{Refused: "shared as a file and not looked into; the error says how to convert it"},
	},
	{
		Name: "GGML", Extensions: []string{".ggml"}, Rank: 4, Parse: ggml.Parse,
		Facts: Facts{
			Versions: "whisper.cpp's: Whisper, Silero's VAD, Parakeet; also named `.bin`",
			InPlace:  "everything, unaligned; quantised types as their blocks",
			Refused:  "other programs' layouts, llama.cpp's before GGUF (GGMF, GGJT, GGLA), blocks of quantisations before version 2",
		},
	},
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

// Vague says whether a file's extension leaves open what is in it, even whether it is
// a weight file.
func Vague(name string) bool { return strings.EqualFold(path.Ext(name), ".bin") }

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
