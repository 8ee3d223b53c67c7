// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/tests/internal/weights"
)

// changes are the ways to change a tree, each on its own: what the reader's method
// Change tries on a file, a folder and a name that is not there.
var changes = []struct {
	what string
	do   func(file, folder, fresh string) error
	want syscall.Errno
}{
	{"open O_WRONLY", func(f, _, _ string) error { return opened(f, unix.O_WRONLY) }, unix.EROFS},
	{"open O_RDWR", func(f, _, _ string) error { return opened(f, unix.O_RDWR) }, unix.EROFS},
	{"open O_RDONLY|O_TRUNC", func(f, _, _ string) error { return opened(f, unix.O_RDONLY|unix.O_TRUNC) }, unix.EROFS},
	{"open O_WRONLY|O_APPEND", func(f, _, _ string) error { return opened(f, unix.O_WRONLY|unix.O_APPEND) }, unix.EROFS},
	{"open O_CREAT", func(_, _, n string) error { return opened(n, unix.O_WRONLY|unix.O_CREAT) }, unix.EROFS},
	{"open O_TMPFILE", func(_, d, _ string) error { return opened(d, unix.O_WRONLY|unix.O_TMPFILE) }, unix.EROFS},
	{"truncate", func(f, _, _ string) error { return unix.Truncate(f, 0) }, unix.EROFS},
	{"chmod", func(f, _, _ string) error { return unix.Chmod(f, 0o777) }, unix.EROFS},
	{"chown", func(f, _, _ string) error { return unix.Lchown(f, -1, unix.Getgid()) }, unix.EROFS},
	{"utimes", func(f, _, _ string) error { return unix.Utimes(f, []unix.Timeval{{}, {}}) }, unix.EROFS},
	{"unlink", func(f, _, _ string) error { return unix.Unlink(f) }, unix.EROFS},
	{"rmdir", func(_, d, _ string) error { return unix.Rmdir(d) }, unix.EROFS},
	{"mkdir", func(_, _, n string) error { return unix.Mkdir(n, 0o755) }, unix.EROFS},
	{"rename", func(f, _, n string) error { return unix.Rename(f, n) }, unix.EROFS},
	{"rename of the folder", func(_, d, n string) error { return unix.Rename(d, n) }, unix.EROFS},
	{"link", func(f, _, n string) error { return unix.Link(f, n) }, unix.EPERM},
	{"symlink", func(f, _, n string) error { return unix.Symlink(f, n) }, unix.EPERM},
	{"mkfifo", func(_, _, n string) error { return unix.Mkfifo(n, 0o644) }, unix.EPERM},
	{"mknod of a file", func(_, _, n string) error { return unix.Mknod(n, unix.S_IFREG|0o644, 0) }, unix.EROFS},
	{"mmap for writing", func(f, _, _ string) error { return mappedForWriting(f) }, unix.EACCES},
	{"mprotect for writing", func(f, _, _ string) error { return protectedForWriting(f) }, unix.EACCES},
	{"write to a read-only descriptor", func(f, _, _ string) error { return writtenTo(f) }, unix.EBADF},
	{"fallocate", func(f, _, _ string) error { return allocated(f) }, unix.EBADF},
	{"mknod of a device", func(_, _, n string) error { return unix.Mknod(n, unix.S_IFCHR|0o644, 0x103) }, unix.EPERM},
}

// ChangeArgs say which of the changes to try on what.
type ChangeArgs struct {
	N                   int
	File, Folder, Fresh string
}

// Change tries one of the changes.
func (*reading) Change(a ChangeArgs, _ *None) error {
	return coded(changes[a.N].do(a.File, a.Folder, a.Fresh))
}

// TestWriting: nothing of a source's model can be changed, and the errno says whether it is that the
// models come from a source (EROFS) or that there is no such thing here (EPERM).
// The control: the same changes on the source itself succeed, nearly all.
func TestWriting(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		content := weights.Single(1, small)
		p := newPlace(t, m)
		p.write("m/model.safetensors", content)
		p.write("m/config.json", []byte("{}"))
		p.write("m/sub/vocab.txt", []byte("a b c"))
		d := p.start()
		for _, target := range []struct{ file, folder, fresh string }{
			{"models/m/model.safetensors", "models/m/sub", "models/m/new"},
			{"models/m/config.json", "models/m/sub", "models/m/new"},
			{"models/m/sub/vocab.txt", "models/m/sub", "models/m/.new"},
			{"tensors/m/weight", "tensors/m", "tensors/new"},
			{"tensors/m/index.json", "tensors/m", "tensors/new"},
			{".modelfs/status.json", ".modelfs", "new"},
		} {
			for i, c := range changes {
				_, err := call[ChangeArgs, None](d.reader, "Change", ChangeArgs{i, d.at(target.file), d.at(target.folder), d.at(target.fresh)})
				if !errors.Is(err, c.want) && !otherwise(c.what, target.file, err) {
					t.Errorf("%s of %s: %v, want %v", c.what, target.file, err, c.want)
				}
			}
		}
		if got := must(d.read(d.model("m/model.safetensors")))(t); !bytes.Equal(got, content) {
			t.Error("the file was changed")
		}

		source := p.folder("src/control/sub")
		done := 0
		for i := range changes {
			args := ChangeArgs{i, p.write(fmt.Sprintf("control/file%d", i), content), source, fmt.Sprintf("%s/control/new%d", p.models, i)}
			if _, err := call[ChangeArgs, None](d.reader, "Change", args); err == nil {
				done++
			}
		}
		if done < len(changes)-8 {
			t.Errorf("the control: only %d of %d changes of the source itself succeeded", done, len(changes))
		}
	})
}

// otherwise knows the cases that end before the daemon is asked: reports are
// read-only by their mode and cannot be mapped, and on what is not his own a user
// without privilege is refused by the kernel.
func otherwise(what, file string, err error) bool {
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return file == ".modelfs/status.json" || what == "mknod of a device"
	}
	return file == ".modelfs/status.json" && errors.Is(err, unix.EINVAL) // mmap of an empty file
}

func opened(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o644)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// withFile calls f with a read-only descriptor and the file's size.
func withFile(path string, f func(fd, size int) error) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	return f(fd, int(st.Size))
}

func mappedForWriting(path string) error {
	return withFile(path, func(fd, size int) error {
		b, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err == nil {
			b[0] ^= 1
			_ = unix.Munmap(b)
		}
		return err
	})
}

func protectedForWriting(path string) error {
	return withFile(path, func(fd, size int) error {
		b, err := unix.Mmap(fd, 0, size, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Munmap(b) }()
		return unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE)
	})
}

func writtenTo(path string) error {
	return withFile(path, func(fd, _ int) error { _, err := unix.Write(fd, []byte{1}); return err })
}

func allocated(path string) error {
	return withFile(path, func(fd, size int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, int64(size))
	})
}
