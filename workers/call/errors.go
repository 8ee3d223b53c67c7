// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package call

import "errors"

// ErrSequences says that a request is one of a sequence: the protocol has them, this server
// has not.
var ErrSequences = errors.New("sequences are not served, no state is kept between calls: send the state as a tensor")

// Error says what is wrong with a request. All of them are invalid arguments.
type Error struct {
	Field  string // `input "audio"`, `output "probability"`, `parameter "timeout"`, "model_name"
	Reason string // what was found, and what was expected
}

func (e *Error) Error() string { return e.Field + ": " + e.Reason }
