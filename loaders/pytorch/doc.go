// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package pytorch lists the tensors of what torch.save and torch.jit.save write:
// .pt, .pth, .bin, .ckpt, .jit. There are three forms (torch/serialization.py):
//
//   - a zip archive, torch 1.6 and later: a pickle, data.pkl, and a stored member
//     data/KEY for each storage;
//   - TorchScript, the same with constants.pkl, whose storages are constants/KEY,
//     and with code, which is never looked at;
//   - the legacy form: five pickles one after the other (a magic number, a version,
//     the writer's system, the object, the keys of its storages), then each
//     storage's count of elements and bytes.
//
// # Pickles
//
// A pickle is a program. The machine of this package runs its opcodes, of protocols
// 0 to 5, on values of its own: it imports nothing and calls nothing. What a global
// stands for is known if it is on torch's own list for weights_only (globals.go): a
// few of these make a dict, a set, a shape or a tensor, the others stay opaque
// values. A global that is not on the list is opaque as well, and so is all that is
// made by calling it: each mention and each call is a tensors.Finding at its byte.
// If a tensor depends on such a call, as its argument, the file is refused, with
// the name of what was to be called.
//
// # Names
//
// A tensor is named by the way to it, from the pickled object down: keys and indices
// of dicts, lists and tuples joined with "/", attributes of an object's attributes
// with ".". The parameters, buffers and modules of an nn.Module have the names that
// its state_dict gives them, so that {"net": module} and {"net": module.state_dict()}
// have the same; buffers that are not persistent have one as well. A state dict at
// the top has its plain keys, and a tensor at the top is called "tensor".
// Constants of TorchScript are constants/INDEX. Keys are text, integers, True, False
// or None: a tensor under another key has no name, and the file is refused. It is
// refused as well if two ways to tensors have one name ("a/b" beside "a", 1 beside
// "1").
//
// A tensor that several ways lead to has all their names. An object that holds one
// that it lies in is not gone through again there.
//
// # Bytes
//
// Views have their true strides and offset, in the file itself. Storages are read
// whatever device they were on. Archives of big-endian machines, and views with the
// conjugate or negative bit, have a Maker. Legacy storages are little-endian
// whatever sys_info says, as torch writes and reads them.
//
// What has no such bytes is refused by name: tensors that are sparse, quantised,
// nested, on the device meta, of a subclass of Tensor, or of a type of elements that
// tensors.DType does not have.
//
// # Archives
//
// The directory at the archive's end says what there is, and every local header has
// to agree with it: name, method, flags, sizes, checksum. Members may not overlap,
// be there twice (torch does not tell upper from lower case), or be encrypted, and
// all that is read is stored, not compressed. The checksums of the pickles are
// checked, those of storages are not: that would read them.
package pytorch
