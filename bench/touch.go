// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

func needTouch(p plan) room {
	// A segment, a memfd and its page cache without passthrough, the tmpfs, the page
	// cache of two files on the disk.
	return room{disk: 2 * p.touchSize, memory: 6 * p.touchSize}
}

// measureTouch: every page of a resident file, mapped by a new process.
//
// How fast the page cache maps a file depends on how the file came into it, so
// there are two of them. A kernel whose filesystem takes large folios makes them
// as long as what is read ahead or written at once: by 32 KiB, as io.Copy and
// most downloads write, they stay small; where the disk reads 2 MiB ahead and
// more, it maps huge pages as a tmpfs does.
func measureTouch(ctx context.Context, b *bench, s *scope) ([]result, error) {
	length := b.plan.touchSize
	file, err := writeModel(ctx, s.path("src"), "m", length, 32)
	if err != nil {
		return nil, err
	}
	budget := length + 64<<20
	normal, err := b.mountModels(ctx, s, "mnt", s.path("src"), budget)
	if err != nil {
		return nil, err
	}
	off, err := b.mountModels(ctx, s, "off", s.path("src"), budget, "--passthrough", "off")
	if err != nil {
		return nil, err
	}
	native, err := nativeCopy(ctx, s, file, 1)
	if err != nil {
		return nil, err
	}
	path, err := normal.dataPath()
	if err != nil {
		return nil, err
	}
	written := s.path("written")
	t := &toucher{bench: b, length: length, huge: map[string]int64{}}
	all, err := b.takeTurns(ctx, b.plan.touchRounds, []contender{
		t.contender("modelfs", normal.weights("m"), nil),
		t.contender("native tmpfs", native, nil),
		t.contender("page cache as written", written, func() error { return warmByWriting(ctx, file, written) }),
		t.contender("page cache read ahead", file, func() error { return warmCache(file) }),
		t.contender("passthrough off", off.weights("m"), nil),
	})
	if err != nil {
		return nil, err
	}
	what := "every page of a resident " + size(length) + " file, in a new process"
	var results []result
	for _, line := range []struct {
		what, peer string
		ours, at   int
		goal       goal
	}{
		{what, "native tmpfs, huge=within_size", 0, 1, slowdown(1.15)},
		{what, "mapping of the file on disk, in the page cache since it was written, by 32 KiB", 0, 2, faster(6)},
		{what, "mapping of the file on disk, in the page cache since it was read in order", 0, 3, faster(6)},
		{"the same with --passthrough off, the kernel's cache of the mount warm", "native tmpfs, huge=within_size", 4, 1, goal{}},
	} {
		r, err := beside(line.what, seconds, all[line.ours], line.peer, all[line.at], line.goal)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	results[0].Note = t.pages() + path.lacks()
	return results, nil
}

// toucher has helpers touch the pages of one content, wherever it lies.
type toucher struct {
	bench  *bench
	length int64
	want   *answer // what the first of all found
	names  []string
	huge   map[string]int64 // bytes that came in huge pages, by contender
}

// contender touches a file; before it, what must be in place is put there.
func (t *toucher) contender(name, path string, before func() error) contender {
	t.names = append(t.names, name)
	return contender{name, seconds, func(ctx context.Context) (float64, error) {
		if before != nil {
			if err := before(); err != nil {
				return 0, err
			}
		}
		a, err := t.bench.helper(ctx, "touch", path, strconv.FormatInt(t.length, 10))
		if err != nil {
			return 0, err
		}
		if t.want == nil {
			t.want = &a
		}
		if a.Sum != t.want.Sum {
			return 0, fmt.Errorf("the pages of %s have other bytes", path)
		}
		t.huge[name] = a.Huge
		return a.Seconds, nil
	}}
}

func (t *toucher) pages() string {
	text := "mapped by huge pages:"
	for i, name := range t.names {
		if i > 0 {
			text += ","
		}
		text += " " + name + " " + size(t.huge[name])
	}
	return text
}

// warmByWriting has the page cache hold a copy of a file as writes of 32 KiB leave
// it, and all of it on the disk.
func warmByWriting(ctx context.Context, from, to string) error {
	if st, err := os.Stat(to); err == nil {
		if have, err := cached(to); err != nil || have >= st.Size() {
			return err
		}
	}
	if err := copyInto(ctx, from, to, 32<<10); err != nil {
		return err
	}
	f, err := os.Open(to)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fsync(int(f.Fd()))
}
