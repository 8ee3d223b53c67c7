// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package pytorch

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/tensors"
)

// listed is an index in short.
func listed(ix *tensors.Index) []string {
	var all []string
	for _, t := range ix.Tensors {
		s := fmt.Sprintf("%s %s%v @%d", t.Name, t.DType, t.Shape, t.Offset)
		if t.Strides != nil {
			s += fmt.Sprintf(" by %v", t.Strides)
		}
		if t.Maker != nil {
			s += " made"
		}
		all = append(all, s)
	}
	return all
}

// floats is where storage "0" begins in an archive of a pickle: behind data.pkl and
// byteorder.
func floats(p *pickle) int64 {
	const byteorder = localSize + 15 + 6 + 6 + 16
	return dataAt + int64(len(p.b)) + 16 + byteorder + localSize + int64(len(folder+"data/0")) + 6
}

// rebuilt appends a call of a function of torch._utils.
func (p *pickle) rebuilt(name string, args func(*pickle)) *pickle {
	p.global("torch._utils", name).op("(")
	args(p)
	return p.op("tR")
}

func v2(class, key string, numel, offset int64, rest func(*pickle)) func(*pickle) {
	return func(p *pickle) {
		p.storage(class, key, numel).num(offset)
		rest(p)
	}
}

func dims(shape, strides []int64, more string) func(*pickle) {
	return func(p *pickle) { p.nums(shape...).nums(strides...).op(more) }
}

// TestTensors: what every rebuilder makes of a storage of 16 bytes.
func TestTensors(t *testing.T) {
	one := []int64{1}
	meta := func(key string) string {
		return "\x89N" + "}X" + string([]byte{byte(len(key)), 0, 0, 0}) + key + "\x88s"
	}
	for name, c := range map[string]struct {
		add  func(*pickle)
		want string // after "tensor "; AT is where the storage begins, and + adds to it
	}{
		"plain":          {func(p *pickle) { p.tensor("0", 4, 1, []int64{3}, one) }, "F32[3] @AT+4"},
		"all":            {func(p *pickle) { p.tensor("0", 4, 0, []int64{2, 2}, []int64{2, 1}) }, "F32[2 2] @AT"},
		"turned":         {func(p *pickle) { p.tensor("0", 4, 0, []int64{2, 2}, []int64{1, 2}) }, "F32[2 2] @AT by [1 2]"},
		"expanded":       {func(p *pickle) { p.tensor("0", 4, 3, []int64{9, 1}, []int64{0, 7}) }, "F32[9 1] @AT+12 by [0 7]"},
		"overlapping":    {func(p *pickle) { p.tensor("0", 4, 0, []int64{3, 2}, []int64{1, 1}) }, "F32[3 2] @AT by [1 1]"},
		"scalar":         {func(p *pickle) { p.tensor("0", 4, 3, nil, nil) }, "F32[] @AT+12"},
		"empty":          {func(p *pickle) { p.tensor("0", 4, 0, []int64{0, 9}, []int64{9, 1}) }, "F32[0 9] @AT"},
		"empty far away": {func(p *pickle) { p.tensor("0", 4, math.MaxInt64, []int64{5, 0}, []int64{math.MaxInt64, 3}) }, "F32[5 0] @AT"},
		"less of it":     {func(p *pickle) { p.tensor("0", 3, 0, []int64{3}, one) }, "F32[3] @AT"},
		"first form":     {func(p *pickle) { p.rebuilt("_rebuild_tensor", v2("LongStorage", "0", 2, 1, dims(one, one, ""))) }, "I64[1] @AT+8"},
		"lists": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor", v2("BoolStorage", "0", 16, 1, func(p *pickle) { p.op("](K\x02K\x03e](K\x03K\x01e") }))
		}, "BOOL[2 3] @AT+1"},
		"a Size": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor", v2("ByteStorage", "0", 16, 0, func(p *pickle) { p.global("torch", "Size").nums(2, 1).op("\x85R").nums(1, 1) }))
		}, "U8[2 1] @AT"},
		"with metadata": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor_v2", v2("HalfStorage", "0", 8, 0, dims(one, one, "\x89N}")))
		}, "F16[1] @AT"},
		"no metadata": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor_v2", v2("HalfStorage", "0", 8, 0, dims(one, one, "\x89NN")))
		}, "F16[1] @AT"},
		"conjugate": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor_v2", v2("ComplexFloatStorage", "0", 2, 1, dims(one, one, meta("conj"))))
		}, "C64[1] @0 made"},
		"negative": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor_v2", v2("DoubleStorage", "0", 2, 1, dims(one, one, meta("neg"))))
		}, "F64[1] @0 made"},
		"untyped": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor_v3", v2("UntypedStorage", "0", 16, 3, func(p *pickle) { p.nums(5).nums(1).op("\x89N").global("torch", "uint16") }))
		}, "U16[5] @AT+6"},
		"untyped, others": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor_v3", v2("UntypedStorage", "0", 16, 0, func(p *pickle) { p.nums(1).nums(1).op("\x89N").global("torch", "float8_e5m2").op("}") }))
		}, "F8_E5M2[1] @AT"},
		"another class": {func(p *pickle) {
			p.storage("FloatStorage", "0", 4).op("0").rebuilt("_rebuild_tensor", v2("LongStorage", "0", 2, 1, dims(one, one, "")))
		}, "I64[1] @AT+8"},
		"another length": {func(p *pickle) { p.storage("FloatStorage", "0", 1).op("0").tensor("0", 4, 3, nil, nil) }, "F32[] @AT+12"},
		"a parameter":    {func(p *pickle) { p.rebuilt("_rebuild_parameter", func(p *pickle) { p.small().op("\x88N") }) }, "F32[2] @AT+4"},
		"with state": {func(p *pickle) {
			p.rebuilt("_rebuild_parameter_with_state", func(p *pickle) { p.small().op("\x88N}U\x01aK\x01s") })
		}, "F32[2] @AT+4"},
		"Parameter": {func(p *pickle) { p.global("torch.nn.parameter", "Parameter").small().op("\x85\x81\x88\x89N\x87b") }, "F32[2] @AT+4"},
		"of a CPU": {func(p *pickle) {
			p.rebuilt("_rebuild_device_tensor_from_cpu_tensor", func(p *pickle) { p.small().global("torch", "float32").op("NN") })
		}, "F32[2] @AT+4"},
		"a class": {func(p *pickle) {
			p.global("torch._tensor", "_rebuild_from_type_v2").op("(").global("torch._utils", "_rebuild_parameter").global("torch.nn.parameter", "Parameter").small().op("\x88N\x87N}\x86tR")
		}, "F32[2] @AT+4"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start()
			c.add(p)
			p.stop()
			file := model(p, 1)
			ix, err := parse.Look(t, file, int64(len(file)))
			if err != nil {
				t.Fatal(err)
			}
			check(t, ix, int64(len(file)))
			want := "tensor " + c.want
			for i := range int64(17) {
				want = strings.Replace(want+" ", fmt.Sprintf("@AT+%d ", i), fmt.Sprintf("@%d ", floats(p)+i), 1)
				want = strings.TrimSuffix(want, " ")
			}
			want = strings.Replace(want, "@AT", fmt.Sprintf("@%d", floats(p)), 1)
			if got := listed(ix); !slices.Equal(got, []string{want}) || len(ix.Findings) > 0 {
				t.Errorf("%q, %v, want %q", got, ix.Findings, want)
			}
		})
	}
}

// TestStorageClasses: a class of storages for every type of elements.
func TestStorageClasses(t *testing.T) {
	for class, d := range storages {
		if class == "_UntypedStorage" {
			continue // torch 1.11 alone
		}
		for _, module := range []string{"torch", "torch.cuda", "torch.storage"} {
			p := start().global("torch._utils", "_rebuild_tensor").op("((").text("storage").global(module, class).text("0").text("cuda:1").num(16 / d.width).
				op("tQ").num(0).nums(16 / d.width).nums(1).op("tR").stop()
			file := model(p, 1)
			ix, err := parse.Look(t, file, int64(len(file)))
			switch {
			case d.d == 0 && err == nil:
				t.Errorf("%s.%s is taken", module, class)
			case d.d != 0 && (err != nil || len(ix.Tensors) != 1 || ix.Tensors[0].DType != d.d || ix.Tensors[0].NBytes != 16 || len(ix.Findings) > 0):
				t.Errorf("%s.%s: %+v, %v", module, class, ix, err)
			}
		}
	}
	for name, d := range dtypes {
		if n, err := d.d.NBytes([]int64{1}); d.d != 0 && (err != nil || n != d.width) || d.width%d.part != 0 {
			t.Errorf("%s: %d bytes in parts of %d, want %d (%v)", name, d.width, d.part, n, err)
		}
	}
}

// TestBrokenTensors: each is refused, by what is wrong.
func TestBrokenTensors(t *testing.T) {
	one := []int64{1}
	sized := func(numel, offset int64, shape, strides []int64) func(*pickle) {
		return func(p *pickle) { p.here().tensor("0", numel, offset, shape, strides) }
	}
	over := func(shape, strides, offset string) string {
		return "a tensor of shape [" + shape + "] with strides [" + strides + "] at element " + offset + ` goes over the 4 elements of the storage "data/0"`
	}
	for name, c := range map[string]struct {
		add func(*pickle)
		msg string
	}{
		"one too far":      {sized(4, 1, []int64{4}, one), over("4", "1", "1")},
		"scalar behind":    {sized(4, 4, nil, nil), over("", "", "4")},
		"offset 2^63 - 1":  {sized(4, math.MaxInt64, one, one), over("1", "1", "9223372036854775807")},
		"offset -1":        {sized(4, -1, one, one), "a tensor with no offset"},
		"stride":           {sized(4, 0, []int64{2, 2}, []int64{3, 1}), over("2 2", "3 1", "0")},
		"stride 2^62":      {sized(4, 0, []int64{5, 5, 5}, []int64{1 << 62, 1 << 62, 1 << 62}), over("5 5 5", "4611686018427387904 4611686018427387904 4611686018427387904", "0")},
		"products of 2^64": {sized(4, 0, []int64{1<<32 + 1}, []int64{1 << 32}), over("4294967297", "4294967296", "0")},
		"sum of 2^64":      {sized(4, 2, []int64{3, 3}, []int64{1<<62 - 1, 1 << 62}), over("3 3", "4611686018427387903 4611686018427387904", "2")},
		"stride -1":        {sized(4, 3, []int64{4}, []int64{-1}), "the strides of a tensor holds -1"},
		"stride -1 of one": {sized(4, 3, one, []int64{-1}), "the strides of a tensor holds -1"},
		"dimension -1":     {sized(4, 0, []int64{-1}, one), "the shape of a tensor holds -1"},
		"strides too few":  {sized(4, 0, []int64{1, 1}, one), "a tensor of 2 dimensions has 1 strides"},
		"65 dimensions":    {sized(4, 0, slices.Repeat(one, 65), slices.Repeat(one, 65)), "the shape of a tensor has 65 dimensions, over the limit of 64"},
		"product of shape": {sized(4, 0, []int64{1 << 32, 1 << 32}, []int64{0, 0}), `the tensor "tensor": [4294967296 4294967296] has over 63 bits of elements: shape does not fit its dtype`},
		"bytes over 2^63":  {sized(4, 0, []int64{1 << 62}, []int64{0}), `the tensor "tensor": [4611686018427387904] of F32 is over 63 bits of bytes: shape does not fit its dtype`},
		"more than there":  {sized(5, 0, one, one), `the storage "data/0" has 20 bytes here and 16 in the archive`},
		"numel -1":         {sized(-1, 0, one, one), `the storage "0" has no number of elements`},
		"numel 2^62":       {sized(1<<62, 0, one, one), `the storage "0" has 4611686018427387904 elements of float32, the file has SIZE bytes`},
		"no such storage":  {func(p *pickle) { p.tensor("9", 4, 0, one, one) }, `the archive has no storage "data/9"`},
		"a way out":        {func(p *pickle) { p.tensor("../data.pkl", 4, 0, one, one) }, `the archive has no storage "data/../data.pkl"`},
		"other case":       {func(p *pickle) { p.storage("FloatStorage", "0", 4).op("0").tensor("O", 4, 0, one, one) }, `the archive has no storage "data/O"`},
		"no number": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor", v2("ByteStorage", "0", 1, 0, func(p *pickle) { p.op("N\x85").nums(1) }))
		}, "the shape of a tensor holds None"},
		"a shape of none": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor", v2("ByteStorage", "0", 1, 0, func(p *pickle) { p.op("N").nums(1) }))
		}, "the shape of a tensor is None"},
		"no storage": {func(p *pickle) { p.rebuilt("_rebuild_tensor", func(p *pickle) { p.op("N").num(0).nums().nums() }) }, "a tensor in None, which is no storage"},
		"unknown storage": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor", func(p *pickle) { p.global("os", "x").op(")R").num(0).nums().nums() })
		}, "a tensor in the result of os.x, which is no storage"},
		"a part": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor", v2("ByteStorage", "0", 1, 0, func(p *pickle) { p.nums() }))
		}, "a tensor of 3 parts"},
		"parts of v2": {func(p *pickle) { p.rebuilt("_rebuild_tensor_v2", v2("ByteStorage", "0", 1, 0, dims(nil, nil, "N"))) }, "a tensor of 5 parts"},
		"parts of v3": {func(p *pickle) { p.rebuilt("_rebuild_tensor_v3", v2("ByteStorage", "0", 1, 0, dims(nil, nil, "NN"))) }, "a tensor of 6 parts"},
		"no dtype":    {func(p *pickle) { p.rebuilt("_rebuild_tensor_v3", v2("ByteStorage", "0", 1, 0, dims(nil, nil, "NNN"))) }, "a tensor of elements of the type None"},
		"another as dtype": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor_v3", v2("ByteStorage", "0", 1, 0, func(p *pickle) { p.nums().nums().op("NN").global("torch", "FloatStorage") }))
		}, "a tensor of elements of the type torch.FloatStorage"},
		"odd metadata": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor_v2", v2("ByteStorage", "0", 1, 0, dims(nil, nil, "NN}U\x04zeroI01\ns")))
		}, "the metadata of a tensor hold something unknown"},
		"metadata, a list": {func(p *pickle) { p.rebuilt("_rebuild_tensor_v2", v2("ByteStorage", "0", 1, 0, dims(nil, nil, "NN]"))) }, "the metadata of a tensor are a list"},
		"negative bytes": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor_v2", v2("ByteStorage", "0", 1, 0, dims(nil, nil, "NN}U\x03negI01\ns")))
		}, `"" is a conjugate or negative view of torch.uint8: it is not read`},
		"conjugate floats": {func(p *pickle) {
			p.rebuilt("_rebuild_tensor_v2", v2("FloatStorage", "0", 1, 0, dims(nil, nil, "NN}U\x04conjI01\ns")))
		}, `"" is a conjugate or negative view of torch.float32: it is not read`},
		"class of storages": {func(p *pickle) {
			p.op("(").text("storage").global("torch", "float32").text("0").text("cpu").num(1).op("tQ")
		}, "a storage is of the class torch.float32, which is none of storages"},
		"class, a string": {func(p *pickle) { p.op("(").text("storage").text("FloatStorage").text("0").text("cpu").num(1).op("tQ") }, "a storage is of the class a string, which is none of storages"},
		"key": {func(p *pickle) {
			p.op("(").text("storage").global("torch", "ByteStorage").op("N").text("cpu").num(1).op("tQ")
		}, "the key of a storage is None"},
		"no numel": {func(p *pickle) {
			p.op("(").text("storage").global("torch", "ByteStorage").text("0").text("cpu").op("NtQ")
		}, `the storage "0" has no number of elements`},
		"another id": {func(p *pickle) { p.op("(").text("module").op("NNNNtQ") }, "a persistent id that is no storage's"},
		"a short id": {func(p *pickle) { p.text("storage").op("\x85Q") }, "a persistent id of 1 parts"},
		"meta": {func(p *pickle) {
			p.op("ctorch._utils\n_rebuild_tensor\n((").text("storage").global("torch", "ByteStorage").text("0").text("meta").num(1).op("tQ").num(0).nums(9).nums(1).op("tR")
		}, `"" is a tensor on the device meta, which has no bytes: it is not read`},
		"built of a dict": {func(p *pickle) { p.small().op("}b") }, "a tensor is built of a dict"},
		"built anew":      {func(p *pickle) { p.small().op("(").storage("FloatStorage", "0", 4).num(0).nums().nums().op("tb") }, "a tensor is built of a tuple"},
		"meta after all": {func(p *pickle) {
			p.storage("ByteStorage", "0", 1).op("0ctorch._utils\n_rebuild_tensor\n((").text("storage").global("torch", "ByteStorage").text("0").text("meta").num(1).op("tQ").num(0).nums(9).nums(1).op("tR")
		}, `"" is a tensor on the device meta, which has no bytes: it is not read`},
		"a parameter of 1":  {func(p *pickle) { p.rebuilt("_rebuild_parameter", func(p *pickle) { p.op("K\x01NN") }) }, "a parameter of an int"},
		"no parameter":      {func(p *pickle) { p.rebuilt("_rebuild_parameter", func(*pickle) {}) }, "a parameter of 0 parts"},
		"parameter's parts": {func(p *pickle) { p.rebuilt("_rebuild_parameter_with_state", func(p *pickle) { p.small() }) }, "a parameter of 1 parts"},
		"unknown parameter": {func(p *pickle) { p.rebuilt("_rebuild_parameter", func(p *pickle) { p.global("os", "x").op(")RNN") }) }, `"" is a tensor made by calling os.x: it is not read`},
		"built twice":       {func(p *pickle) { p.small().op("NNN\x87bNNN\x87b") }, "a tensor is built twice"},
		"another type": {func(p *pickle) {
			p.rebuilt("_rebuild_device_tensor_from_cpu_tensor", func(p *pickle) { p.small().global("torch", "float16").op("NN") })
		}, `"" is a tensor of torch.float32 made into another type: it is not read`},
		"from NumPy":  {func(p *pickle) { p.rebuilt("_rebuild_device_tensor_from_numpy", func(*pickle) {}) }, `"" is a tensor made of a NumPy array: it is not read`},
		"FloatTensor": {func(p *pickle) { p.global("torch", "FloatTensor").op(")R") }, `"" is a tensor without a storage, or a sparse one: it is not read`},
		"a subclass": {func(p *pickle) {
			p.global("torch._tensor", "_rebuild_from_type_v2").op("(").global("torch._utils", "_rebuild_parameter").global("my", "Tensor").small().op("\x88N\x87}tR")
		}, `"" is a tensor of the class my.Tensor: it is not read`},
		"a function": {func(p *pickle) {
			p.global("torch._tensor", "_rebuild_from_type_v2").op("(").global("my", "f").global("torch", "Tensor").small().op("\x85}tR")
		}, `"" is a tensor made by calling my.f: it is not read`},
	} {
		t.Run(name, func(t *testing.T) {
			p := start()
			c.add(p)
			file := model(p.stop(), 1)
			_, err := parse.Look(t, file, int64(len(file)))
			want := strings.Replace(c.msg, "SIZE", fmt.Sprint(len(file)), 1)
			if err == nil || !strings.HasSuffix(err.Error(), ": "+want) {
				t.Errorf("%v\nwant %s", err, want)
			}
		})
	}
}
