// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package onnx finds the tensors of an ONNX model: every TensorProto in it.
//
// The format is onnx.proto's ModelProto, a protobuf message. The file is scanned,
// not decoded: messages are visited where they lie, and what they hold otherwise is
// passed over unread, raw_data above all.
//
// # Where the bytes are
//
// raw_data, and typed fields of floats and doubles that lie in one piece, are the
// tensor's bytes as they are. Other typed fields (int32_data, int64_data,
// uint64_data, what is in several pieces) are made by a Maker, which scans the one
// message again. External data lies in the file that the model names, beside it:
// its path is checked here and nothing else, whoever opens it must neither follow
// links nor take a file that has several names.
//
// # Names
//
// Initializers, and Constant nodes (by their output), of the model's graph have the
// names that the file gives them; one name twice in a graph is refused. What lies
// deeper has the path to it before its name:
//
//	NODE/ATTRIBUTE/…        of a subgraph (If, Loop, Scan); ATTRIBUTE/N/… in a list
//	NODE/ATTRIBUTE          a tensor that is a parameter (ConstantOfShape's value)
//	functions/NAME/…        of a model's function
//	training_info/N/initialization/…, training_info/N/algorithm/…
//
// NODE is the node's name; if it has none, or one of over 200 bytes, its operator
// and its number among the nodes of its graph: If#7. A path that is taken already
// gets ~2, ~3 and so on.
//
// # What is refused
//
// A message of one kind where the format has another, a field that can be there
// once and is there twice, data in two forms, groups; lengths and shapes that do
// not agree; external data in the model's own file, or with other keys than
// location, offset, length and checksum. The checksum is not compared.
//
// Findings, and no tensors, are: strings, sparse tensors, segments, types that
// modelfs does not know, and 4-bit and 6-bit tensors that do not fill whole bytes.
package onnx
