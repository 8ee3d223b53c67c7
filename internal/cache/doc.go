// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package cache keeps parts of models in shared memory: it joins the policy
// (package registry), the memory (package tensors/shm) and the origin (package
// sources).
//
// A Part is what one segment holds: a whole weight file, or one tensor, of one
// generation of its origin. The way of an open is
//
//	Open ─► registry.Acquire ─ hit ─────────────────────────────► Ref
//	                         └ miss ► reserve ► load ► segment ─┘
//
// and load is: open the origin, see that it is the generation that was asked
// for, reserve a segment, fill it by direct reads, see that the origin has not
// changed meanwhile, seal. Nothing half-read is ever shown.
//
// # Ownership
//
// A Ref holds one reference on a part and must be closed exactly once; the
// segment's memory cannot go while one is open. Mappings that outlive their Ref
// are seen by the segment's lease test when the registry tries to free it.
//
// # Generations
//
// A file that changed on disk is another Part. Stale parts of the old
// generation are doomed: nobody finds them any more, and they are freed when
// the last process lets go. Until then they count against the budget.
//
// # Over budget
//
// When nothing more can go, Open serves the origin itself (OriginAllowed) or
// fails with registry.ErrNoRoom.
package cache
