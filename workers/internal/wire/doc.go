// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package wire moves tensors between gRPC's buffers and their owners without a copy.
//
// protobuf copies every bytes field, so that 100 MB are copied twice at each end before
// anybody computes. Here the raw contents of a request or response are left out of the
// message and kept as pieces of the buffers that they arrived in, and sent from where
// they lie. On the wire nothing differs: the other end may use any codec.
//
//	Codec     an encoding.CodecV2 named "proto", for grpc.ForceServerCodecV2 and
//	          grpc.ForceCodecV2; it is never registered, which would be for the whole process
//	Request, Response, StreamResponse    messages with their raw contents beside them;
//	          all other messages go the usual way
//	Service   a grpc.ServiceDesc whose calls of inference use them
//
// # Memory
//
// What was received belongs to whom it was given to: Free gives the buffers back, once,
// and Pieces and everything that was made of them are invalid from then on. A message
// that is not freed is left to the garbage collector; that costs buffers that could have
// been used again, and nothing else.
//
// What is sent belongs to gRPC from Marshal on, which frees it when it is written or
// when the call ends. The function given to Borrow is called then. A message can be sent
// once.
//
// # Errors
//
// ErrMalformed: not as the wire format is. ErrTooMany: more raw entries than anybody
// needs. ErrSent: the message was sent before.
package wire
