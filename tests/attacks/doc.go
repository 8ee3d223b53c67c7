// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package attacks is files that somebody may be sent in place of a model, and the
// answer that each must get: it is refused, or read with a finding, or read as if
// nothing were wrong because its trick does not work here.
//
// Every file is assembled here, byte by byte, and is the same in every run: an
// attack differs from its sound twin (Sound) in the one thing that it is about, so
// that it is refused for that and for nothing else. Nothing here is executed. What
// the payloads would do if somebody executed them is to create one file: the one
// that MODELFS_CANARY names, or modelfs-canary in the working directory.
//
// The files are in All, the ones that need a folder with links, pipes and devices
// in it are in Places. Write puts the files into a folder, for other tools:
//
//	go run ./tests/attacks/write DIR
package attacks
