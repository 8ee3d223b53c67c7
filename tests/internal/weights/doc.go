// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package weights writes weight files for tests: safetensors, lists of shards, GGUF
// and ONNX, right ones and, byte by byte, wrong ones. It shares no code with the
// loaders, so that an error there is not repeated here.
//
// The data of a tensor are a pattern of a seed: any reader can say whether the
// bytes that it has are those, without the file.
package weights
