// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package tree is the tree that people see: models/, tensors/ and .modelfs/ as
// the entries that package fs asks for.
//
//	models/<model>/<file>       modelFolder, folder, weightFile, sideFile
//	tensors/<model>/<tensor>    tensorsFolder, tensorFile, indexFile
//	.modelfs/                   status.json, ps.json, metrics
//
// Entries are small values made at a lookup: they hold names and the generation
// that they stand for, and ask the catalog and the cache when they are used. A
// weight file or a tensor is one generation of its origin; when the origin has
// another by now, the answer is fs.ErrStale, and the kernel looks the name up
// again by itself.
//
// Nothing here loads a model but the opening of a weight file, of a tensor, or of
// a model's folder as a lease, and the attribute user.modelfs.wait.
//
// # Permissions
//
// Owner, group and mode of an entry are those that package sources makes of the
// origin; the kernel checks them. What the kernel cannot check, the rows of
// status.json, is filtered by the caller's ids (see access.go).
package tree
