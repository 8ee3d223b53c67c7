// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package safetensors reads the header of a safetensors file, and the list of
// shards beside one (model.safetensors.index.json), and writes both.
//
// The format is described in the README of huggingface/safetensors: a u64 N, N
// bytes of JSON {name: {dtype, shape, data_offsets}}, the data. This reader
// checks what the reference reader (safetensors/src/tensor.rs) checks, in the
// same order, and refuses duplicate names, which that one lets pass.
//
// The JSON is read byte by byte with a small buffer: what is wrong is known to the
// byte, and a header of 100 MB costs no 100 MB.
//
// Plan is the other way round: it lays tensors out in files, whose bytes File.Write
// streams. It opens nothing either.
package safetensors
