// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package batch decides which calls wait, which go together, and when.
//
// A Queue holds the calls of one model. Workers ask for the next batch, which is what
// fits together: calls of one Kind (datatypes and trailing shapes), up to the model's
// largest batch. A batch goes when it is full, when it has a preferred size, when its
// oldest call has waited for the longest delay, or when a worker is idle and there is no
// delay. Calls of a lower priority number go first; within a priority callers take
// turns, so that one with a thousand calls does not keep another's first one waiting.
//
// policy.go is pure: it is told the time. queue.go is the thin shell around it, with the
// lock, the timer and the waiting workers.
//
// # Errors
//
// ErrFull says that the queue holds as many calls as it may, ErrExpired that a call's
// time ran out while it waited, ErrClosed that the model is being unloaded.
package batch
