// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package registry keeps values that are expensive to load and large to hold:
// one load for any number of callers, references, a byte budget, eviction by LRU
// or LFU, time to live, pins. It is pure policy: no I/O, no logging; what an item
// is, how it is loaded and how it is freed are functions of the caller. Time is
// time.Now, so that tests run in a synctest bubble.
//
// # States of an item
//
//	absent ─Acquire, Start─► loading ─ok─► resident ─Evict, room, TTL─► evicting ─► absent
//	                            └─error─► absent          ◄──── Config.Evict says ErrBusy ┘
//
// An item with references never leaves resident. While it is evicting, an
// Acquire waits for the outcome: no caller ever gets a value that is being freed.
//
// # Single flight
//
// The first caller of an absent item starts its load; the others wait, each on
// its own context. When the load fails, its error goes to the caller who started
// it, and exactly one waiter takes over, so a failing origin is not stampeded.
// When nobody waits any more, the load's context is cancelled.
//
// # Use that the registry cannot see
//
// A value may be in use without a reference: a process maps a segment whose
// descriptor it has closed. Config.Evict then answers ErrBusy and the item stays;
// Config.InUse asks without freeing, and Retry says that the answer may have
// changed.
//
// # Locks
//
// One mutex guards everything; it is never held while a function of the caller
// runs, so those may call the registry. It is a leaf.
package registry
