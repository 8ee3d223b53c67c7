// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A child keeps clients' files mapped as long as they are in use again and again: a frame
// that a client writes anew each time is mapped once. Each of them holds memory that its
// owner may have removed, so they are few and not for long.
const (
	maxClientFiles = 64
	clientFileIdle = 10 * time.Second
)

// known is a file that the child has.
type known struct {
	key      uint64
	size     int64
	writable bool
	client   bool // it is not mapped here
	users    int  // calls that run
	used     time.Time
	forget   bool // as soon as nobody uses it
	file     *File
}

// useLocked makes the child know all files of a call, and keeps them known until unuse.
func (p *Process) useLocked(r *running) error {
	p.forgetLocked()
	if r.req.First.File != nil {
		if err := p.useFileLocked(r, r.req.First.File); err != nil {
			return err
		}
	}
	for _, list := range [2][]Tensor{r.req.Inputs, r.req.Outputs} {
		for i := range list {
			if list[i].File == nil {
				continue
			}
			if err := p.useFileLocked(r, list[i].File); err != nil {
				return err
			}
		}
	}
	return p.sendFilesLocked()
}

// useFileLocked notes that a call uses a file, which sendFilesLocked has to send then if
// the child does not have it as it is now.
func (p *Process) useFileLocked(r *running, f *File) error {
	k := p.known[f.Key]
	if k == nil {
		if f.Key == 0 || f.FD == nil {
			p.dropUnsentLocked()
			return fmt.Errorf("file %d cannot be handed over: %w", f.Key, os.ErrInvalid)
		}
		k = &known{key: f.Key, size: -1, client: f.Data == nil}
		p.known[f.Key] = k
	}
	if k.size < f.Size || f.Writable && !k.writable {
		if k.file == nil {
			p.unsent = append(p.unsent, k)
		}
		k.file = f
	}
	if k.client {
		k.used = time.Now()
		p.recent = append(slices.DeleteFunc(p.recent, func(o *known) bool { return o == k }), k)
	}
	if !slices.Contains(r.files, k) {
		k.users++
		r.files = append(r.files, k)
	}
	return nil
}

// sendFilesLocked sends the files that the child lacks.
func (p *Process) sendFilesLocked() error {
	for len(p.unsent) > 0 {
		n := min(len(p.unsent), maxFiles)
		err := p.sendSomeLocked(p.unsent[:n])
		for _, k := range p.unsent[:n] {
			if err == nil {
				k.size, k.writable = k.file.Size, k.file.Writable || k.writable
			}
			k.file = nil
		}
		p.unsent = slices.Delete(p.unsent, 0, n)
		if err != nil {
			p.dropUnsentLocked()
			return err
		}
	}
	return nil
}

func (p *Process) sendSomeLocked(files []*known) error {
	b := appendHeader(p.buffer[:0], typeFiles, 0, uint32(len(files)), 0)
	fds := make([]int, 0, maxFiles)
	for _, k := range files {
		b = appendFile(b, k.file)
		fd := k.file.FD.Fd()
		if fd > math.MaxInt32 {
			return fmt.Errorf("file %d cannot be handed over: %w", k.key, os.ErrClosed)
		}
		fds = append(fds, int(fd))
	}
	p.buffer = b
	rights := unix.UnixRights(fds...)
	var err error
	failed := p.raw.Write(func(fd uintptr) bool {
		_, err = unix.SendmsgN(int(fd), b, rights, nil, unix.MSG_NOSIGNAL)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	runtime.KeepAlive(files)
	switch {
	case failed != nil: // closed: the child is gone, and who waits for it will hear so
	case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
	case err != nil:
		return fmt.Errorf("hand files over: %w", err)
	}
	return nil
}

func (p *Process) dropUnsentLocked() {
	for _, k := range p.unsent {
		k.file = nil
	}
	p.unsent = p.unsent[:0]
}

// unuse says that a call uses its files no more.
func (p *Process) unuse(r *running) {
	if len(r.files) == 0 {
		return
	}
	p.wmu.Lock()
	defer p.wmu.Unlock()
	now, forget := time.Time{}, false
	for _, k := range r.files {
		k.users--
		if k.client {
			if now.IsZero() {
				now = time.Now()
			}
			k.used = now
		}
		forget = forget || k.forget && k.users == 0
	}
	r.files = r.files[:0]
	if forget || len(p.recent) > maxClientFiles {
		p.sweepLocked(time.Now())
	}
}

// Forget says that the file of that key is not used any more: the child unmaps it, once no
// call uses it.
func (p *Process) Forget(key uint64) {
	p.fmu.Lock()
	p.forgets = append(p.forgets, key)
	p.fmu.Unlock()
	if p.wmu.TryLock() { // else whoever has it sends something, and the watch looks after it
		p.forgetLocked()
		p.wmu.Unlock()
	}
}

// forgetLocked does what Forget was told.
func (p *Process) forgetLocked() {
	p.fmu.Lock()
	keys := p.forgets
	p.forgets = nil
	p.fmu.Unlock()
	if len(keys) == 0 {
		return
	}
	for _, key := range keys {
		if k := p.known[key]; k != nil {
			k.forget = true
		}
	}
	p.sweepLocked(time.Now())
}

// sweepLocked makes the child forget what nobody uses and is to be forgotten: what Forget
// was told, and clients' files that are too many or were idle for too long.
func (p *Process) sweepLocked(now time.Time) {
	for i, k := range p.recent {
		if len(p.recent)-i > maxClientFiles || now.Sub(k.used) > clientFileIdle {
			k.forget = k.forget || k.users == 0
		}
	}
	var keys []uint64
	for key, k := range p.known {
		if k.forget && k.users == 0 {
			keys = append(keys, key)
			delete(p.known, key)
		}
	}
	if len(keys) == 0 {
		return
	}
	p.recent = slices.DeleteFunc(p.recent, func(k *known) bool { return p.known[k.key] != k })
	for some := range slices.Chunk(keys, 1024) {
		b := appendHeader(p.buffer[:0], typeForget, 0, uint32(len(some)), 0)
		for _, key := range some {
			b = little.AppendUint64(b, key)
		}
		p.buffer = b
		p.writeLocked(b)
	}
}
