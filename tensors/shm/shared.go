// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// Shared is a file of several processes, mapped, with words in it that they use to
// agree: the memory of tensors/stream. Unlike a segment it may be written by others
// at any time.
type Shared struct {
	memory []byte
}

// Bytes is all of the mapping, valid until Close. What is mapped read-only must not
// be written: that is a fault that nobody can catch.
func (s *Shared) Bytes() []byte { return s.memory }

// Uint32 is the word at an offset, a multiple of four. It is valid until Close.
func (s *Shared) Uint32(at int) *atomic.Uint32 {
	return (*atomic.Uint32)(s.word(at, 4))
}

// Uint64 is the word at an offset, a multiple of eight. It is valid until Close.
func (s *Shared) Uint64(at int) *atomic.Uint64 {
	return (*atomic.Uint64)(s.word(at, 8))
}

// word checks what the processor would not: a word across two cache lines is not
// read as one.
func (s *Shared) word(at, size int) unsafe.Pointer {
	if at%size != 0 {
		panic("shm: a word that is not aligned")
	}
	return unsafe.Pointer(unsafe.SliceData(s.memory[at : at+size]))
}

// Close unmaps.
func (s *Shared) Close() {
	if s.memory != nil {
		unmapFile(s.memory)
		s.memory = nil
	}
}

// Fence has every access to memory before it happen before every one after it, as
// other processes see them. The atomics of Go order themselves, and what comes before
// a store and after a load; a sequence lock also needs what comes after a store, and
// before a load. A store and a load, each of which the architecture orders with the
// other (STLR and LDAR on arm64, XCHG on amd64), are that.
func Fence() {
	var own atomic.Uint32
	own.Store(1)
	_ = own.Load()
}

// Wait sleeps while a word has the value old: until Wake, or for most. It may return
// for no reason, so look again. The word lies in a Shared, which may be read-only. An
// error says that this system cannot wait so; then it has not.
func Wait(word *atomic.Uint32, old uint32, most time.Duration) error { return wait(word, old, most) }

// Wake wakes all who Wait for a word, in every process.
func Wake(word *atomic.Uint32) { wake(word) }
