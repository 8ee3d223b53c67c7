// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// helperWord is the first argument that makes this program a helper: one run of
// one contender.
const helperWord = "helper"

// runHelper runs one mode and prints its answer.
func runHelper(args []string) int {
	debug.SetGCPercent(-1) // nothing but the measured work
	a, err := help(args)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(a)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "helper %q: %v\n", args, err)
		return 1
	}
	return 0
}

func help(args []string) (answer, error) {
	if len(args) == 0 {
		return answer{}, errors.New("no mode")
	}
	rest := args[1:]
	switch mode := args[0]; {
	case mode == "warm" && len(rest) == 1:
		return helpWarm(number(rest[0]))
	case mode == "touch" && len(rest) == 2:
		return helpTouch(rest[0], number(rest[1]))
	case mode == "load" && len(rest) == 1:
		return helpLoad(rest[0])
	case mode == "direct" && len(rest) == 3:
		return helpDirect(rest[0], number(rest[1]), number(rest[2]))
	case mode == "opens" && len(rest) == 3:
		return helpOpens(rest[0], number(rest[1]), number(rest[2]))
	case mode == "attach" && len(rest) == 4:
		return helpAttach(rest[0], number(rest[1]), number(rest[2]), number(rest[3]))
	case mode == "names" && len(rest) == 1:
		return helpNames(rest[0])
	case mode == "index" && len(rest) == 1:
		return helpIndex(rest[0])
	case mode == "infer" && len(rest) >= 4:
		return helpInfer(rest[0], number(rest[1]), number(rest[2]), number(rest[3]), strings.Join(rest[4:], ""))
	case mode == "answer" && len(rest) == 3:
		return helpAnswer(rest[0], number(rest[1]), number(rest[2]))
	case mode == "callers" && len(rest) == 4:
		return helpCallers(rest[0], rest[1], number(rest[2]), number(rest[3]))
	case mode == "peer-fuse" && len(rest) == 3:
		return answer{}, servePeer(rest[0], rest[1], rest[2] == noFlush)
	}
	return answer{}, errors.New("no such mode")
}

// number is an argument that this program itself has written.
func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

// helpWarm touches n bytes of new memory.
func helpWarm(n int) (answer, error) {
	m, err := unix.Mmap(-1, 0, max(n, pageSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return answer{}, err
	}
	_ = unix.Madvise(m, unix.MADV_HUGEPAGE) // in as few steps as the kernel can
	began := time.Now()
	for i := 0; i < len(m); i += pageSize {
		m[i] = 1
	}
	return answer{Seconds: time.Since(began).Seconds(), Bytes: int64(len(m))}, unix.Munmap(m)
}

// helpTouch opens and maps a file and reads a byte of every page: that is the
// time. How much of it came as huge pages is looked up after it.
func helpTouch(path string, length int) (answer, error) {
	runtime.LockOSThread()
	began := time.Now()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return answer{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	m, err := unix.Mmap(fd, 0, length, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return answer{}, &os.PathError{Op: "mmap", Path: path, Err: err}
	}
	var sum uint64
	for i := 0; i < len(m); i += pageSize {
		sum += uint64(m[i])
	}
	took := time.Since(began)
	huge, err := hugeBytes(m)
	return answer{Seconds: took.Seconds(), Bytes: int64(length), Sum: sum, Huge: huge}, errors.Join(err, unix.Munmap(m), unix.Close(fd))
}

// helpLoad opens a file: modelfs answers when it is whole in memory.
func helpLoad(path string) (answer, error) {
	runtime.LockOSThread()
	began := time.Now()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	took := time.Since(began)
	if err != nil {
		return answer{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, unix.STATX_BLOCKS|unix.STATX_SIZE, &st); err != nil {
		return answer{}, err
	}
	return answer{Seconds: took.Seconds(), Bytes: int64(st.Size), RSS: int64(st.Blocks) * 512}, unix.Close(fd)
}

// helpOpens opens and closes a file again and again. The system calls are raw:
// Go's scheduler has no part in them.
func helpOpens(path string, warm, n int) (answer, error) {
	runtime.LockOSThread()
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return answer{}, err
	}
	a := answer{Samples: make([]float64, 0, n), Closes: make([]float64, 0, n)}
	for i := range warm + n {
		began := time.Now()
		fd, errno := rawOpen(name)
		opened := time.Now()
		if errno != 0 {
			return a, &os.PathError{Op: "open", Path: path, Err: errno}
		}
		errno = rawClose(fd)
		ended := time.Now()
		if errno != 0 {
			return a, &os.PathError{Op: "close", Path: path, Err: errno}
		}
		if i >= warm {
			a.Samples = append(a.Samples, ended.Sub(began).Seconds())
			a.Closes = append(a.Closes, ended.Sub(opened).Seconds())
		}
	}
	a.Seconds = series(a.Samples).median()
	return a, nil
}

// helpAttach opens and maps a file again and again, and touches none of it.
func helpAttach(path string, length, warm, n int) (answer, error) {
	runtime.LockOSThread()
	a := answer{Samples: make([]float64, 0, n), Bytes: int64(length)}
	for i := range warm + n {
		began := time.Now()
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return a, &os.PathError{Op: "open", Path: path, Err: err}
		}
		m, err := unix.Mmap(fd, 0, length, unix.PROT_READ, unix.MAP_SHARED)
		took := time.Since(began)
		if err != nil {
			return a, &os.PathError{Op: "mmap", Path: path, Err: err}
		}
		if err := errors.Join(unix.Munmap(m), unix.Close(fd)); err != nil {
			return a, err
		}
		if i >= warm {
			a.Samples = append(a.Samples, took.Seconds())
		}
	}
	a.Seconds = series(a.Samples).median()
	return a, nil
}

// helpNames lists a folder as ls -f does: names alone, 32 KiB at a time.
func helpNames(dir string) (answer, error) {
	runtime.LockOSThread()
	began := time.Now()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return answer{}, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	buf := make([]byte, 32<<10)
	var names []string
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil {
			return answer{}, &os.PathError{Op: "getdents", Path: dir, Err: err}
		}
		if n == 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	took := time.Since(began)
	return answer{Seconds: took.Seconds(), Count: len(names)}, unix.Close(fd)
}
