// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package handler runs models: in processes of their own that are kept alive, or in Go
// functions of the program that embeds the server.
//
// # The channel
//
// Server and handler process talk over one SOCK_SEQPACKET socket, descriptor 3 of the
// handler, in records of at most 64 KiB, little-endian. Only references cross it: bytes
// of tensors lie in files that the server names by a key and hands over once
// (SCM_RIGHTS), and that the handler maps once.
//
//	offset  size
//	0       2     type
//	2       2     flags
//	4       4     count, by type
//	8       8     id of the call
//	16      …     by type
//
// The types:
//
//	 1 HELLO   handler: JSON, what the model takes and gives; the first record but for LOG
//	 2 FILES   server:  count files of 24 bytes: key u64, size u64, writable u32, 0 u32;
//	                    their descriptors come with the record, at most 16. A key that is
//	                    known already is a larger size of the same file, or may be written
//	                    now, too
//	 3 FORGET  server:  count keys u64: unmap and close
//	 4 INFER   server:  a call; see below
//	 5 CANCEL  server:  nobody waits for the call any more; it is answered all the same
//	 6 RESULT  handler: count outputs of the call; flag 1: the last record of the call,
//	                    which may then have no outputs
//	 7 FAIL    handler: the call failed: count is a gRPC code, the rest is UTF-8
//	 8 ROOM    handler: the outputs need so many bytes (u64); the server answers. What
//	                    the call had before is not to be written any more
//	 9 REGION  server:  key u64, offset u64, bytes u64: where outputs may lie, instead of
//	                    what INFER said; flag 1: nowhere, nobody waits for the call any
//	                    more; flag 2: nowhere, there is no such room
//	10 STOP    server:  finish the calls and end
//	11 LOG     handler: a line for the server's log: count is the level (0 debug to 3 error)
//
// After a RESULT that is not the last, a handler asks for ROOM, be it of 0 bytes, before
// it sends another with outputs: the answer says that the former has been taken and its
// memory may be used again, and keeps a stream from running ahead of its reader.
//
// INFER goes on at 16 with the region for outputs (key u64, offset u64, bytes u64; key 0:
// none), then, at 40, inputs u16, outputs u16, rows u32 (of the batch; 0: not batched),
// deadline i64 (nanoseconds from now; 0: none), parameters u32 (bytes of JSON at the
// end), 0 u32; then, at 64, the tensors: inputs first, then the outputs that are asked
// for (none: all), each with a name. RESULT goes on with its tensors at 16. A tensor is
//
//	0   8   key of the file; 0: none (of an output that is asked for: into the region)
//	8   8   offset of its bytes there
//	16  8   how many bytes
//	24  1   datatype
//	25  1   rank, at most 16
//	26  2   bytes of its name, at most 1000
//	28  4   0
//	32  8×rank  shape; then the name, padded with zeros to a multiple of 8
//
// A handler that closes the socket or sends what is not as above has failed. It is killed,
// and what lies in its memory is let go only when it has ended.
//
// A handler of concurrency 1 whose model is not decoupled may be sent calls while it is at
// one: it answers them in their order, but for those that are cancelled. Its limit of time
// begins anew with each. When it dies, the call that was sent first of those that it had
// may have been run; the others were not, and are another's.
//
// HELLO's JSON is an object: platform, inputs and outputs (lists of objects with name,
// datatype and shape), max_batch, decoupled, concurrency; or error: why the handler cannot
// serve, which is the last that it says.
//
// # Who owns what
//
// A Process owns its child, the socket and the goroutines that read and watch. Files are
// its caller's: a descriptor is used while Infer has not sent it, which is before Request.Released.
// The child maps what it was sent until it is told to forget it: files that are mapped here
// too, by Forget; clients' files, by a sweep when they were not used for a while, so that
// a mapping does not hold the memory of a file that its owner has removed.
//
// # Locks
//
// Process.wmu (what is written to the socket, and which files the child knows) before
// Process.fmu (which it is to forget). Process.mu (which calls run) is a leaf. None is held
// while emit, Room or Released run.
package handler
