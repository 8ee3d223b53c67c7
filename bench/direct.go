// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// directBuffers is memory in huge pages, where the kernel has them: a read into
// small ones is split into many more requests to the disk.
func directBuffers(n int) ([]byte, error) {
	m, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	_ = unix.Madvise(m, unix.MADV_HUGEPAGE) // a kernel without them refuses
	for i := 0; i < len(m); i += pageSize {
		m[i] = 1
	}
	return m, nil
}

// helpDirect reads a file past the page cache into nothing: each of the jobs has
// one buffer, and reads the next block into it. This is what the disk can do.
func helpDirect(path string, block, jobs int) (answer, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return answer{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return answer{}, err
	}
	buffers, err := directBuffers(block * jobs)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = unix.Munmap(buffers) }()

	var next, total atomic.Int64
	var wait sync.WaitGroup
	errs := make([]error, jobs)
	began := time.Now()
	for j := range jobs {
		wait.Go(func() {
			buf := buffers[j*block : (j+1)*block]
			for {
				at := next.Add(int64(block)) - int64(block)
				if at >= st.Size {
					return
				}
				n, err := unix.Pread(fd, buf, at)
				total.Add(int64(n))
				if err != nil || int64(n) < min(int64(block), st.Size-at) {
					errs[j] = errors.Join(errors.New("a direct read came short"), err)
					return
				}
			}
		})
	}
	wait.Wait()
	took := time.Since(began)
	return answer{Seconds: took.Seconds(), Bytes: total.Load()}, errors.Join(errs...)
}
