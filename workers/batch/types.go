// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrFull says that no more calls may wait. The text has the depth.
	ErrFull = errors.New("queue is full")
	// ErrTooLarge says that a call alone has more rows than a batch may have.
	ErrTooLarge = errors.New("call is larger than a batch")
	// ErrExpired says that a call's time in the queue ran out.
	ErrExpired = errors.New("waited too long")
	// ErrClosed says that nothing is taken any more.
	ErrClosed = errors.New("queue is closed")
)

// Config is what a model's queue does.
type Config struct {
	MaxBatch  int           // rows in a batch; 0 or 1: calls go one by one
	MaxDelay  time.Duration // how long a call waits for others; 0: not at all
	Preferred []int         // sizes at which a batch goes without waiting
	MaxQueue  int           // calls that wait; 0: no limit
	Timeout   time.Duration // of a call in the queue that has none of its own; 0: none
	Levels    uint64        // of priority; 0: one. What asks for a higher number has this
	Default   uint64        // the level of calls that name none; 0: 1
}

// Item is one call that waits.
type Item[T any] struct {
	Call T
	// Context is the call's: what is cancelled or past its deadline is never handed out.
	// nil: it waits for as long as it takes.
	Context context.Context
	// Kind is equal for calls that can go into one batch; "" goes alone.
	Kind string
	// Rows is what the call adds to a batch's size, at least 1.
	Rows     int
	Caller   string
	Priority uint64        // 1 is first; 0: Config.Default
	Timeout  time.Duration // 0: Config.Timeout
	// Here says that Push may run the call's batch: it returns after that then.
	Here bool
	// Ahead says that the call may be given to a worker that is still busy with others.
	Ahead bool
	// Dropped is told, once and without locks, when the call leaves the queue without a
	// batch: ErrExpired, ErrClosed or its context's error.
	Dropped func(error)
}

// Worker is what runs batches.
type Worker[T any] struct {
	Most  int // rows of a batch; 0: Config.MaxBatch
	Lanes int // batches that it runs at a time; 0: one
	// Ahead is how many more it may be given than it runs: each lies ready when the one
	// before it is over. They are fewer, or none, where it takes long over a batch, and a
	// worker that has less to do is asked first. Only calls with Item.Ahead go ahead.
	Ahead int
	// Run runs a batch, in as many goroutines as Lanes and Ahead are. It may return before
	// the batch is over; later is closed then. gone says that the worker is of no use any
	// more.
	Run func(Batch[T]) (gone bool, later <-chan struct{})
}

// Batch is what goes together.
type Batch[T any] struct {
	Items []Taken[T]
	Rows  int
}

// Taken is a call of a batch.
type Taken[T any] struct {
	Call   T
	Rows   int
	Waited time.Duration
}
