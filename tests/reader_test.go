// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readerEnv makes this binary a reader: a process that does with the mount what
// it is told over its standard input and output.
const readerEnv = "MODELFS_TEST_READER"

func serveReader() {
	server := rpc.NewServer()
	if err := server.RegisterName("Reader", &reading{maps: map[int][]byte{}}); err != nil {
		panic(err)
	}
	server.ServeConn(stdio{})
}

// stdio is the pipe to the test.
type stdio struct{}

func (stdio) Read(p []byte) (int, error)  { return os.Stdin.Read(p) }
func (stdio) Write(p []byte) (int, error) { return os.Stdout.Write(p) }
func (stdio) Close() error                { return os.Stdin.Close() }

// reading is the state of a reader. Its methods are called from reader, which has
// their names and says what they do.
type reading struct {
	mu   sync.Mutex
	next int
	maps map[int][]byte

	stormOver atomic.Bool

	announced []any // open as long as the process lives
}

// None is the answer of what only fails or does not.
type None struct{ OK bool }

// errnoPrefix marks an error of the system on its way to the test.
const errnoPrefix = "errno "

// coded makes an error that finds its way.
func coded(err error) error {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return fmt.Errorf("%s%d: %w", errnoPrefix, int(errno), err)
	}
	return err
}

type OpenArgs struct {
	Path  string
	Flags int
}

// Open is open(2), again after EINTR: the runtime's own signals interrupt too.
func (*reading) Open(a OpenArgs, fd *int) error {
	var err error
	for {
		if *fd, err = unix.Open(a.Path, a.Flags|unix.O_CLOEXEC, 0); !errors.Is(err, unix.EINTR) {
			return coded(err)
		}
	}
}

func (*reading) Close(fd int, _ *None) error { return coded(unix.Close(fd)) }

func (r *reading) Map(fd int, id *int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return coded(err)
	}
	m, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return coded(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	r.maps[r.next], *id = m, r.next
	return nil
}

func (r *reading) mapping(id int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.maps[id]
}

func (r *reading) Unmap(id int, _ *None) error {
	m := r.mapping(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.maps, id)
	return coded(unix.Munmap(m))
}

// Sum reads the mapping anew: its page table entries go first.
func (r *reading) Sum(id int, sum *string) (err error) {
	m := r.mapping(id)
	if err := unix.Madvise(m, unix.MADV_DONTNEED); err != nil {
		return coded(err)
	}
	debug.SetPanicOnFault(true) // of this goroutine
	defer fault(&err)
	*sum = digest(m)
	return nil
}

// fault makes an error of a page that could not be had.
func fault(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s%d: %v", errnoPrefix, int(syscall.EFAULT), p)
	}
}

// digest is how the suite names content.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

type PlaceArgs struct {
	ID   int
	At   int64
	Size int
}

// Addr is where a mapping lies.
func (r *reading) Addr(id int, span *[2]uint64) error {
	m := r.mapping(id)
	from := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(m))))
	*span = [2]uint64{from, from + uint64(len(m))}
	return nil
}

// Pread reads through the descriptor.
func (*reading) Pread(a PlaceArgs, b *[]byte) error {
	buf := make([]byte, a.Size)
	n, err := unix.Pread(a.ID, buf, a.At)
	*b = buf[:max(n, 0)]
	return coded(err)
}

// Read reads a whole file by large reads.
func (r *reading) Read(path string, b *[]byte) error {
	var fd int
	if err := r.Open(OpenArgs{path, unix.O_RDONLY}, &fd); err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	buf := make([]byte, 1<<20)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return coded(err)
		case n == 0:
			return nil
		default:
			*b = append(*b, buf[:n]...)
		}
	}
}

func (*reading) Stat(path string, st *unix.Stat_t) error { return coded(unix.Lstat(path, st)) }

func (*reading) Fstat(fd int, st *unix.Stat_t) error { return coded(unix.Fstat(fd, st)) }

func (*reading) Statfs(path string, st *unix.Statfs_t) error { return coded(unix.Statfs(path, st)) }

func (*reading) List(path string, names *[]string) error {
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		*names = append(*names, e.Name())
	}
	return coded(err)
}

// Walk lists everything below a folder, folders with a "/" at the end.
func (*reading) Walk(top string, names *[]string) error {
	return coded(filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == top {
			return err
		}
		rel := strings.TrimPrefix(path, top+"/")
		if d.IsDir() {
			rel += "/"
		}
		*names = append(*names, rel)
		return nil
	}))
}

type AttrArgs struct{ Path, Name, Value string }

func (*reading) Get(a AttrArgs, value *string) error {
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.Getxattr(a.Path, a.Name, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		*value = string(buf[:max(n, 0)])
		return coded(err)
	}
}

func (*reading) Set(a AttrArgs, _ *None) error {
	return coded(unix.Setxattr(a.Path, a.Name, []byte(a.Value), 0))
}

func (*reading) Attrs(path string, names *[]string) error {
	buf := make([]byte, 1<<16)
	n, err := unix.Listxattr(path, buf)
	if err == nil && n > 0 {
		*names = strings.Split(strings.TrimRight(string(buf[:n]), "\x00"), "\x00")
	}
	return coded(err)
}

// Hold reads the whole file into memory of the process's own.
func (r *reading) Hold(path string, id *int) error {
	var b []byte
	if err := r.Read(path, &b); err != nil {
		return err
	}
	m, err := unix.Mmap(-1, 0, len(b), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return coded(err)
	}
	copy(m, b)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	r.maps[r.next], *id = m, r.next
	return nil
}

var _ io.ReadWriteCloser = stdio{}
