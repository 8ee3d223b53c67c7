// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package daemon makes one mount of the parts: it alone knows them all.
//
// # Life
//
// Run prepares the mount point (a stale mount of a killed daemon is detached),
// opens the segment store, mounts, and serves until its context ends or somebody
// unmounts. Then it detaches and gives everything back: the mount point is free
// at once. Mappings that processes still hold stay valid: with passthrough the
// kernel needs no daemon for them; without it the daemon lives on until the last
// one ends.
//
// # Goroutines
//
// Each is owned by Run, which waits for it: the FUSE server; the janitor, which
// frees what expired and what its last user left (see janitor.go) and sleeps
// without a timer when there is nothing to wait for; the watcher of the mount
// table, which notices that somebody unmounted.
//
// The daemon never touches its own mount: that would deadlock, and not even a kill
// would end it. A mount point that hides a source is refused; what of a source leads
// into the mount is left out (sources.Fence).
package daemon
