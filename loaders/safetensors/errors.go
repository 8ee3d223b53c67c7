// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package safetensors

import "errors"

// ErrUnwritable says that the format cannot hold what is to be written: a dtype, a
// name, or too much of something.
var ErrUnwritable = errors.New("safetensors cannot hold it")
