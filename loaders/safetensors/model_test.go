// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"testing"

	"github.com/modelfs/modelfs/tensors"
)

// TestModel reads a real file: the model that the demo brings.
func TestModel(t *testing.T) {
	b, err := os.ReadFile("../../cmd/modelfs/demo/silero_vad/silero_vad_16k.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(b))
	ix, err := parse.Look(t, b, size)
	if err != nil {
		t.Fatal(err)
	}
	check(t, ix, size)
	want := []tensors.Tensor{
		tensorAt("stft_conv.weight", tensors.F32, 0, 264192, 258, 1, 256),
		tensorAt("conv1.weight", tensors.F32, 264192, 198144, 128, 129, 3),
		tensorAt("conv1.bias", tensors.F32, 462336, 512, 128),
		tensorAt("conv2.weight", tensors.F32, 462848, 98304, 64, 128, 3),
		tensorAt("conv2.bias", tensors.F32, 561152, 256, 64),
		tensorAt("conv3.weight", tensors.F32, 561408, 49152, 64, 64, 3),
		tensorAt("conv3.bias", tensors.F32, 610560, 256, 64),
		tensorAt("conv4.weight", tensors.F32, 610816, 98304, 128, 64, 3),
		tensorAt("conv4.bias", tensors.F32, 709120, 512, 128),
		tensorAt("lstm_cell.weight_ih", tensors.F32, 709632, 262144, 512, 128),
		tensorAt("lstm_cell.weight_hh", tensors.F32, 971776, 262144, 512, 128),
		tensorAt("lstm_cell.bias_ih", tensors.F32, 1233920, 2048, 512),
		tensorAt("lstm_cell.bias_hh", tensors.F32, 1235968, 2048, 512),
		tensorAt("final_conv.weight", tensors.F32, 1238016, 512, 1, 128, 1),
		tensorAt("final_conv.bias", tensors.F32, 1238528, 4, 1),
	}
	const data = 1216
	for i := range want {
		want[i].Offset += data
	}
	sameTensors(t, ix.Tensors, want)
	for at := data; at < len(b); at += 4 {
		if v := math.Float32frombits(binary.LittleEndian.Uint32(b[at:])); !(v > -1e3 && v < 1e3) {
			t.Fatalf("the number at byte %d is %g", at, v)
		}
	}
	for _, n := range []int{1, 8, 100, data - 1, data, data + 1, len(b) / 2, len(b) - 1} {
		if _, err := parse(bytes.NewReader(b[:n]), int64(n)); err == nil {
			t.Errorf("the first %d bytes are taken", n)
		}
	}
}
