// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"context"
	"sync"
	"time"

	"github.com/modelfs/modelfs/workers/batch"
	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/caller"
)

// pending is one call, from its decoding to its last answer.
type pending struct {
	ctx    context.Context
	req    *call.Request
	caller caller.Caller
	refs   references
	// repeated says that it was made before, and may have killed its handler then.
	repeated bool
	// answered is given each answer, which is its to release, before the call ends. An
	// error ends the call.
	answered func(*answer) error
	// free gives the raw contents back; it may be called again.
	free func()

	item batch.Item[*pending] // what the queue has of it

	waited, ran time.Duration // in the queue, in the handler; written before ended

	once  sync.Once
	err   error
	ended chan struct{}
}

// end ends the call; the first error counts.
func (p *pending) end(err error) {
	p.once.Do(func() {
		p.err = err
		close(p.ended)
	})
}

// answer is one response to a call: outputs, of which the bytes lie in memory that is
// held until release.
type answer struct {
	outputs []output
	hold    *hold // nil: of no region
	final   bool
}

// output is one tensor of an answer.
type output struct {
	call.Tensor
	data []byte    // nil if it went elsewhere
	ref  *call.Ref // where it went
	size int64
}

// release lets go of the answer's memory; it may be called once.
func (a *answer) release() {
	if a.hold != nil {
		a.hold.release()
	}
}
