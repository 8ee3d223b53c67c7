// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package batch decides which calls wait, which go together, and when.
//
// A Queue holds the calls of one model. Workers are given the next batch, which is what
// fits together: calls of one Kind (datatypes and trailing shapes), up to the model's
// largest batch. Calls of a lower priority number go first; within a priority callers
// take turns, so that one with a thousand calls does not keep another's first one
// waiting.
//
// policy.go is pure: it is told the time. queue.go is the thin shell around it, with the
// lock and the timer; work.go has the workers.
//
// # When a batch goes
//
// Under load at once, as large as it can be: a call for which no worker was idle, at any
// moment since it came, does not wait for company. A worker that is idle waits for
// company until the batch is full, has a preferred size, or its oldest call has waited
// for the longest delay. Without a delay, and while a queue is drained, nothing waits.
//
// # What goes first
//
// The lead of a batch is the oldest call of the caller whose turn it is, in the first
// level of priority that has any. The rest is of its kind, those of the first levels
// first, callers in turn. A caller that gave a call goes to the end. A call that does not
// fit into the rows that are left keeps its place, and so do those of its caller and kind
// behind it: order is kept within a caller, priority and kind. It is not between kinds,
// else one caller's calls of two shapes could never be batched.
//
// Nobody starves: a call leads as soon as those of its caller before it are gone and
// every other caller of its level had a turn, and of the levels that eight batches or
// more have passed over, the one passed over most leads the next.
//
// A call with more rows than the largest batch is refused, for a model with batches. One
// without (MaxBatch 0 or 1) does not look at rows: calls go one by one, whatever they
// have.
//
// # Ahead
//
// A worker in another process that answers one call and hears of the next only then
// sleeps in between, and so does who hears its answer: under load that takes longer than
// a small call. So a worker may have calls lying ready (Worker.Ahead). What is there can
// go to no other worker, and nothing of a higher priority passes it: hence a call goes
// ahead only where no worker is idle, to the one with the least to do, and only as far as
// it will wait there for a millisecond at most, by what batches took there lately. Models
// that take longer gain nothing by it.
//
// # Errors
//
// ErrFull says that the queue holds as many calls as it may, ErrTooLarge that a call has
// more rows than a batch, ErrExpired that a call's time ran out while it waited,
// ErrClosed that the model is being unloaded.
package batch
