// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package workers serves models over gRPC: the Open Inference Protocol, version 2, with
// Triton's extensions for streams, statistics, the repository and system shared memory,
// and grpc.health.v1.
//
// # The way of a call
//
//	gRPC ─► wire (raw contents stay where they arrived)
//	     ─► call.Parse, Check (every byte of it is hostile until then)
//	     ─► reference (what is named instead of sent is opened as the caller)
//	     ─► batch.Queue (who waits, who goes together)
//	     ─► execution: inputs into a region of the arena, one copy; the handler; outputs
//	        in another region
//	     ─► wire (outputs go out of that region without a copy; then it is free)
//
// # Who owns what
//
// A call owns its raw contents until its inputs are in the arena or it ends. An
// execution owns its regions until the handler has let go of them, which is also when
// nobody waits any more, and until the last response was written that shows a part of
// them. Files that were opened for a caller are closed when the execution ends.
//
// # Locks
//
// Server.mu guards which models there are, model.mu a model's pool and state, and
// neither is held while anything is called. Statistics are atomics.
//
// # Errors
//
// status.go has the one table from errors to gRPC codes. What is unknown is INTERNAL.
// UNAVAILABLE is what can be made again: the handler died, or there is none. With
// wire.DiedAgain it is not to be: the call may be what kills them.
package workers
