// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package call

import (
	"time"
)

// Request is one call, checked.
type Request struct {
	Model, Version, ID string
	Inputs             []Input
	Outputs            []Output       // nil: all that the model has, inline
	Parameters         map[string]any // what is not the server's own: bool, int64, uint64, float64, string
	Priority           uint64         // 1 is first; 0: the model's default
	Timeout            time.Duration  // in the queue; 0: none of its own
}

// Tensor is a name, a datatype and a shape.
type Tensor struct {
	Name     string
	Datatype Datatype
	Shape    []int64
}

// Input is a tensor and where its bytes lie.
type Input struct {
	Tensor
	// Raw are its bytes in pieces, as they arrived; nil if it is by reference.
	Raw [][]byte
	// Ref says where they lie else; nil: in Raw.
	Ref *Ref
	// Bytes is how many there are; -1: what Ref has. Fixed-size elements always have
	// as many as shape and datatype say.
	Bytes int64
}

// Output is one that is asked for, and where it is to go.
type Output struct {
	Name string
	Ref  *Ref // nil: into the response
}

// Ref is a place outside of the request: a path of the mount, or a region of system
// shared memory. One of the two is empty.
type Ref struct {
	Path   string // below the mount: sessions/camera/frame.npy
	Region string // a name that was registered
	Offset int64  // of the bytes in it
	Bytes  int64  // how many; -1: as many as the tensor has
}
