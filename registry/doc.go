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
// Doom takes an item out of the keys, in whatever state it is: nobody finds it any
// more, its key may be loaded anew at once, and it is freed when its last user
// goes.
//
// # Single flight
//
// The first caller of an absent item starts its load; the others wait, each on
// its own context. A load that succeeds gives every one of them its reference
// before anybody can evict the item. When it fails, its error goes to the caller
// who started it, and exactly one waiter's load is next, so a failing origin is
// not stampeded and every waiter's end is its own load's. When nobody waits any
// more, the load's context is cancelled.
//
// # Room
//
// One reservation at a time frees others, in the order of arrival: what a large
// item has freed is not taken by small ones that came later. A failing one does
// not wait for references to go, it says who holds the memory. For the maximum of
// groups whole groups go, or nothing of them.
//
// # Use that the registry cannot see
//
// A value may be in use without a reference: a process maps a segment whose
// descriptor it has closed. Config.Evict then answers ErrBusy and the item stays;
// Config.InUse asks without freeing, and Retry says that the answer may have
// changed. Until then the clock leaves such an item alone, and those who need room
// ask it last, once each.
//
// # Time
//
// There is no goroutine and no timer here. Sweep frees what is due and says when to
// come back; Config.Wake says that it should be earlier. With nothing to expire
// neither is called.
//
// # Locks
//
// One mutex guards everything; it is never held while a function of the caller
// runs, so those may call the registry, with two exceptions: Config.Evict must not
// wait for its own item or for an Acquire that needs room. The mutex is a leaf.
package registry
