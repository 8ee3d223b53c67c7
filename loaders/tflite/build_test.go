// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tflite

import (
	"io"
	"testing"

	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/tensors"
)

const fileName = "folder/model.tflite"

var parse hostile.Parse[*tensors.Index] = func(r io.ReaderAt, size int64) (*tensors.Index, error) {
	return Parse(fileName, r, size)
}

// buffer is one of a model's.
type buffer struct {
	data         []byte
	offset, size uint64
}

// entry is one tensor of a subgraph.
type entry struct {
	name     string
	dtype    int8
	buffer   uint32
	shape    []int32
	sparse   bool
	external uint32
}

// graph is one subgraph.
type graph struct {
	name    string
	tensors []entry
}

// write has the FlatBuffers library write a model. It shares equal strings and, as
// its writer does, vtables.
func write(version uint32, buffers []buffer, graphs ...graph) []byte {
	b := flatbuffers.NewBuilder(1024)
	var all []flatbuffers.UOffsetT
	for _, x := range buffers {
		var data flatbuffers.UOffsetT
		if x.data != nil {
			b.StartVector(1, len(x.data), 16)
			for i := len(x.data) - 1; i >= 0; i-- {
				b.PrependByte(x.data[i])
			}
			data = b.EndVector(len(x.data))
		}
		b.StartObject(3)
		b.PrependUOffsetTSlot(bufferData, data, 0)
		b.PrependUint64Slot(bufferOffset, x.offset, 0)
		b.PrependUint64Slot(bufferSize, x.size, 0)
		all = append(all, b.EndObject())
	}
	list := offsets(b, all)
	var subgraphs []flatbuffers.UOffsetT
	for _, g := range graphs {
		subgraphs = append(subgraphs, subgraph(b, g))
	}
	subs := offsets(b, subgraphs)
	b.StartObject(5)
	b.PrependUint32Slot(modelVersion, version, 0)
	b.PrependUOffsetTSlot(modelSubgraphs, subs, 0)
	b.PrependUOffsetTSlot(modelBuffers, list, 0)
	b.FinishWithFileIdentifier(b.EndObject(), []byte("TFL3"))
	return b.FinishedBytes()
}

func offsets(b *flatbuffers.Builder, all []flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	b.StartVector(4, len(all), 4)
	for i := len(all) - 1; i >= 0; i-- {
		b.PrependUOffsetT(all[i])
	}
	return b.EndVector(len(all))
}

func subgraph(b *flatbuffers.Builder, g graph) flatbuffers.UOffsetT {
	var all []flatbuffers.UOffsetT
	for _, t := range g.tensors {
		name := b.CreateSharedString(t.name)
		b.StartVector(4, len(t.shape), 4)
		for i := len(t.shape) - 1; i >= 0; i-- {
			b.PrependInt32(t.shape[i])
		}
		shape := b.EndVector(len(t.shape))
		var sparsity flatbuffers.UOffsetT
		if t.sparse {
			b.StartObject(3)
			sparsity = b.EndObject()
		}
		b.StartObject(11)
		b.PrependUOffsetTSlot(tensorShape, shape, 0)
		b.PrependInt8Slot(tensorType, t.dtype, 0)
		b.PrependUint32Slot(tensorBuffer, t.buffer, 0)
		b.PrependUOffsetTSlot(tensorName, name, 0)
		b.PrependUOffsetTSlot(tensorSparsity, sparsity, 0)
		b.PrependUint32Slot(tensorExternal, t.external, 0)
		all = append(all, b.EndObject())
	}
	list := offsets(b, all)
	var name flatbuffers.UOffsetT
	if g.name != "" {
		name = b.CreateString(g.name)
	}
	b.StartObject(5)
	b.PrependUOffsetTSlot(subgraphTensors, list, 0)
	b.PrependUOffsetTSlot(subgraphName, name, 0)
	return b.EndObject()
}

// check holds for whatever is taken: names are distinct, tensors are as large as
// their shapes say, and lie in the file.
func check(tb testing.TB, ix *tensors.Index, size int64) {
	tb.Helper()
	names := make(map[string]bool)
	for _, t := range ix.Tensors {
		if names[t.Name] {
			tb.Errorf("%q is there twice", t.Name)
		}
		names[t.Name] = true
		n, err := t.DType.NBytes(t.Shape)
		if err != nil || n != t.NBytes || n == 0 || t.Shape == nil || t.Strides != nil || t.Maker != nil || t.File != fileName {
			tb.Errorf("%+v, want %d bytes, %v", t, n, err)
		}
		if t.Offset < 2 || n > size-t.Offset {
			tb.Errorf("%q: %d bytes at %d of %d", t.Name, n, t.Offset, size)
		}
	}
	for _, f := range ix.Findings {
		if f.File != fileName || f.Offset < 0 || f.Offset > size || f.Text == "" || len(f.Text) > 2000 {
			tb.Errorf("%+v", f)
		}
	}
}
