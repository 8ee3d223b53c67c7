// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package catalog knows which models there are, their checkpoints, and the
// tensors of a checkpoint. It reads folders and headers; it never loads.
//
//	Catalog ─► Model ─► Checkpoints ─► Checkpoint ─► Indexed (tensors, their paths)
//
// Which checkpoints there are the names of files say, and lists of shards: no header
// is read for that but of ONNX models beside a .bin file, which may be their data. The
// data files that a header names are part of a checkpoint from when it was read.
//
// # What is kept, and for how long
//
// The list of models is read again when somebody lists it, or asks for a name
// that it does not have, and it is older than a second. The checkpoints of a model
// are kept for a second. The index of a checkpoint is kept while somebody uses
// indexes and ten seconds longer, small ones for good, and is valid only for the generations of the
// files that it was read from. Nothing runs when nobody asks. What somebody
// looked at and is gone from disk is told by OnVanished, so that its memory goes too.
//
// # Locks
//
// Catalog.mu, Model.mu and indexes.mu are leaves: no I/O happens under them but a
// scan, which Catalog.scanning orders. A header is read by one goroutine for all
// who wait for it; each waits on its own context.
package catalog
