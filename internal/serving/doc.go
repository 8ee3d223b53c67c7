// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package serving wires an inference server: models of a mount, handlers in Python, the
// listeners, a session of the mount for its memory and its announcement, metrics.
//
// Run starts all that and returns when it was told to end, or could not start. Nothing is
// left then: no process, no socket, no session.
package serving
