// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package announce is how inference servers say where they are: the shape of it, and what
// is taken of it.
//
// A server has a session of its own in the mount, sessions/serve-PID-RANDOM, and in it a
// file .workers.json that it keeps open for writing. While it is open, .modelfs/workers.json
// lists what it says: the kernel closes it with the process, however that ends, so that
// nothing else has to notice. What it says is replaced as a whole, by a rename, so that
// nobody reads half of it.
//
// What a file says is its writer's claim: who reads it learns from the daemon which user
// that is, and trusts root and himself.
package announce
