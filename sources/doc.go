// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package sources knows where models lie on disk: a folder tree, a single weight
// file, the Hugging Face cache.
//
// A Source finds models; a Model lists, stats and opens its files. Both only
// read, and everything is looked up when it is asked for: nothing is cached but
// the current revision of a Hugging Face repository, for a second.
//
// # What a model is
//
// The topmost folder below a source that directly holds a weight file,
// config.json or model_index.json; everything below belongs to it. A weight file
// in the source folder itself is a model of its own, named without its extension
// (and without its shard number). A source folder that itself holds config.json
// or model_index.json is one model.
//
// # Symlinks and special files
//
// Symlinks are followed and what they point to is shown as what it is. FIFOs,
// sockets, devices and broken links are not shown. A path is followed one name after
// the other, each held by a descriptor while the next is looked up, and what is opened
// is the very thing that the attributes were read from.
//
// # The mount itself
//
// A source may hold the mount point, and links that lead into the mount. The daemon
// would wait for itself there, so a Fence ends every such path: see there. Listings
// leave those out, as they do broken links; whoever names one gets ErrOwnMount.
//
// # Permissions
//
// Stat's owner, group and mode are the origin's, less what any folder on the way
// from "/" denies: a class (owner, group, others) that could not get to the file
// loses its bits. Where mode bits cannot express the rule (a POSIX ACL), it is
// narrowed to the owner. See reach.
//
// # Errors
//
// A name that is not there is io/fs.ErrNotExist; ErrOwnMount says that a path leads
// into the mount of the daemon that asks; ErrReplaced is for callers that look twice.
package sources
