// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// read takes what the child says until it says no more.
func (p *Process) read() {
	defer close(p.hello)
	buffer := make([]byte, maxRecord+1)
	for greeted := false; ; {
		n, err := p.socket.Read(buffer)
		if err != nil || n == 0 { // a record of 0 bytes looks like the end, and is as bad
			p.kill(errEOF)
			return
		}
		r, err := parseRecord(buffer[:n])
		switch {
		case err != nil:
		case r.kind == typeLog:
			p.log.Log(context.Background(), slog.Level(4*int(r.count)-4), string(r.body))
		case greeted == (r.kind == typeHello):
			err = fmt.Errorf("a record of type %d out of order", r.kind)
		case r.kind == typeHello:
			greeted = true
			r.body = bytes.Clone(r.body)
			p.hello <- r
		default:
			err = p.said(r)
		}
		if err != nil {
			p.kill(fmt.Errorf("%w: %w", ErrProtocol, err))
			return
		}
	}
}

// said hands on what the child said of a call. It is all done under the lock, the sending
// of events that nobody waits for included, so that a call is abandoned before or after.
func (p *Process) said(rec record) error {
	e := event{kind: rec.kind, flags: rec.flags, count: rec.count}
	p.mu.Lock()
	r := p.calls[rec.id]
	if r == nil {
		p.mu.Unlock()
		return fmt.Errorf("an answer to call %d, which it does not have", rec.id)
	}
	err := r.accept(rec, &e)
	last := err == nil && r.ended
	if last {
		delete(p.calls, rec.id)
		if p.spec.Ahead > 0 && p.turn.After(r.sent) {
			e.began = p.turn
		}
		p.turn = time.Now()
	}
	abandoned := r.abandoned
	if err == nil && !abandoned {
		select {
		case r.events <- e:
		default:
			err = fmt.Errorf("too much at once of call %d", rec.id)
		}
	}
	p.mu.Unlock()
	switch {
	case err != nil:
		return err
	case abandoned && last:
		p.finish(r)
	case abandoned && rec.kind == typeRoom:
		p.nobody(rec.id)
	}
	return nil
}

// accept checks that a record may come now, and takes note of it. The caller holds
// Process.mu.
func (r *running) accept(rec record, e *event) error {
	if r.asked {
		return fmt.Errorf("a record of type %d while call %d waits for room", rec.kind, rec.id)
	}
	switch rec.kind {
	case typeRoom:
		r.full, r.asked = false, true
		r.since.Store(0)
		e.room = int64(little.Uint64(rec.body))
		return nil
	case typeFail:
		r.ended = true
		e.text = string(bytes.ToValidUTF8(rec.body, []byte("\uFFFD")))
		return nil
	}
	r.ended = rec.flags&flagLast != 0
	if rec.count == 0 && (!r.ended || len(rec.body) > 0) || rec.count > 0 && r.full {
		return fmt.Errorf("a result of call %d with %d outputs out of order", rec.id, rec.count)
	}
	r.full = true
	if rec.count > 0 && !r.abandoned {
		r.result = append(r.result[:0], rec.body...)
	}
	r.since.Store(time.Now().UnixNano())
	return nil
}

// sendCall sends a call, and before it the files that the child does not know yet. The
// calls' ids are in the order in which they are sent.
func (p *Process) sendCall(r *running) error {
	p.wmu.Lock()
	defer p.wmu.Unlock()
	if err := p.useLocked(r); err != nil {
		return err
	}
	now := time.Now()
	p.next++
	r.id, r.sent = p.next, now
	b, err := appendInfer(p.buffer[:0], r.id, r.req, now)
	if err != nil {
		return err
	}
	p.buffer = b
	r.since.Store(now.UnixNano())
	p.mu.Lock()
	gone := p.calls == nil
	if !gone {
		p.calls[r.id] = r
	}
	p.mu.Unlock()
	if gone {
		return p.notBegun()
	}
	p.writeLocked(b)
	return nil
}

// sendRegion answers ROOM; with no room if the child cannot be given the place's file.
func (p *Process) sendRegion(r *running, flags uint16, place Place) error {
	p.wmu.Lock()
	defer p.wmu.Unlock()
	var err error
	if place.File != nil {
		if err = p.useFileLocked(r, place.File); err == nil {
			err = p.sendFilesLocked()
		}
		if err != nil {
			flags, place = flagNoRoom, Place{}
		}
	}
	p.mu.Lock()
	r.asked = false
	p.mu.Unlock()
	r.since.Store(time.Now().UnixNano())
	p.buffer = appendRegion(p.buffer[:0], r.id, flags, place)
	p.writeLocked(p.buffer)
	return err
}

// nobody answers ROOM of a call that nobody waits for.
func (p *Process) nobody(id uint64) {
	p.mu.Lock()
	if r := p.calls[id]; r != nil {
		r.asked = false
		r.since.Store(time.Now().UnixNano())
	}
	p.mu.Unlock()
	b := appendRegion(make([]byte, 0, headerSize+24), id, flagNobody, Place{})
	if !p.tell(b) { // by the reader: the child may not read before it has been read
		go func() {
			p.wmu.Lock()
			defer p.wmu.Unlock()
			p.writeLocked(b)
		}()
	}
}

// writeLocked sends a record, and waits while there is no room for it. That it fails means
// that the child is ending, which the reader sees, too.
func (p *Process) writeLocked(b []byte) {
	if _, err := p.socket.Write(b); err != nil {
		p.writeFailed(err)
	}
}

func (p *Process) writeFailed(err error) {
	if !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, os.ErrClosed) {
		p.kill(fmt.Errorf("cannot be told anything: %w", err))
	}
}

// tell sends a record if there is room for it at once; false if not. It needs no lock: a
// record is sent whole.
func (p *Process) tell(b []byte) bool {
	var err error
	failed := p.raw.Control(func(fd uintptr) {
		for {
			if err = unix.Send(int(fd), b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); err != unix.EINTR {
				return
			}
		}
	})
	return failed != nil || err == nil || err != unix.EAGAIN
}
