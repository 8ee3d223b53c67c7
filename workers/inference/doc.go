// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package inference is the Open Inference Protocol, version 2, with Triton's
// extensions, generated from the .proto files beside it by make proto.
package inference
