// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"fmt"
	"log"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Options are those of a mount.
type Options struct {
	// Prefix is the upper half of every inode number; not 0.
	Prefix uint32
	// Journal keeps what node ids stand for, beyond the life of the process; nil:
	// nobody will ask.
	Journal JournalFile
	// Passthrough asks for it; whether it is had is Server.Passthrough.
	Passthrough bool
	// AllowOther lets other users in. Without privilege it needs user_allow_other
	// in /etc/fuse.conf.
	AllowOther bool
	// Mounted is told which filesystem the mount is, before the first answer; nil:
	// nobody asks.
	Mounted func(device uint64)
	Log     *slog.Logger
}

// Server is one mount that is served.
type Server struct {
	bridge  *bridge
	fuse    *fuse.Server
	notes   *notifier
	why     string // there is no passthrough
	served  chan struct{}
	closing sync.Once
}

// Mount mounts the tree at an absolute path and serves it; it returns when the
// mount answers. root uses mount(2), others fusermount3.
func Mount(mountPoint string, root Folder, opts Options) (*Server, error) {
	ids, err := newJournal(opts.Prefix, opts.Journal)
	if err != nil {
		return nil, err
	}
	b := newBridge(ids, root, opts.Log)
	mo := &fuse.MountOptions{
		AllowOther:         opts.AllowOther,
		FsName:             "modelfs",
		Name:               "modelfs",
		Options:            []string{"default_permissions"},
		DirectMountStrict:  os.Geteuid() == 0,
		DisableReadDirPlus: true, // it makes a node of every name that is listed
		MaxStackDepth:      1,    // tmpfs below, an overlay above
		MaxWrite:           1 << 20,
		// O_TRUNC comes with OPEN: it is a new file, not a change of size. Without
		// KILLPRIV_V2 every write would bring a GETXATTR.
		ExtraCapabilities: fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_HANDLE_KILLPRIV_V2,
		Logger:            log.New(logWriter{opts.Log}, "", 0),
		PanicHandler:      func(p any) fuse.Status { return b.panicked(p, debug.Stack()) },
	}
	fs, err := fuse.NewServer(b, mountPoint, mo)
	if err != nil {
		return nil, explain(err, opts.AllowOther)
	}
	if opts.Mounted != nil {
		device, err := deviceOf(mountPoint)
		if err != nil {
			_ = unix.Unmount(mountPoint, unix.MNT_DETACH)
			return nil, err
		}
		opts.Mounted(device)
	}
	s := &Server{bridge: b, fuse: fs, served: make(chan struct{})}
	b.kernel = fs
	b.passthrough, s.why = probe(fs, opts.Passthrough)
	s.notes = newNotifier(func(ino uint64) { fs.InodeNotify(ino, -1, 0) })
	go func() {
		defer close(s.served)
		fs.Serve()
	}()
	if err := fs.WaitMount(); err != nil {
		_ = unix.Unmount(mountPoint, unix.MNT_DETACH)
		s.Close()
		return nil, fmt.Errorf("wait for the mount: %w", err)
	}
	return s, nil
}

// deviceOf is a mount's, which nobody serves yet: the kernel answers without a request.
func deviceOf(mountPoint string) (uint64, error) {
	var x unix.Statx_t
	flags := unix.AT_STATX_DONT_SYNC | unix.AT_SYMLINK_NOFOLLOW
	if err := unix.Statx(unix.AT_FDCWD, mountPoint, flags, unix.STATX_INO, &x); err != nil {
		return 0, &os.PathError{Op: "stat", Path: mountPoint, Err: err}
	}
	return unix.Mkdev(x.Dev_major, x.Dev_minor), nil
}

// probe registers a backing once, to see whether the kernel takes any.
func probe(fs *fuse.Server, wanted bool) (ok bool, why string) {
	if !wanted {
		return false, "passthrough is off"
	}
	settings := fs.KernelSettings()
	if settings.Flags64()&fuse.CAP_PASSTHROUGH == 0 {
		return false, "the kernel has no FUSE passthrough (it needs Linux 6.9 with CONFIG_FUSE_PASSTHROUGH)"
	}
	fd, err := unix.MemfdCreate("modelfs-probe", unix.MFD_CLOEXEC)
	if err != nil {
		return false, fmt.Sprintf("passthrough could not be tried: %v", err)
	}
	defer unix.Close(fd)
	id, errno := fs.RegisterBackingFd(&fuse.BackingMap{Fd: int32(fd)})
	switch {
	case errno == syscall.EPERM:
		return false, "passthrough needs CAP_SYS_ADMIN: mount as root"
	case errno != 0 || id <= 0:
		return false, fmt.Sprintf("the kernel refuses passthrough: %v", errno)
	}
	_ = fs.UnregisterBackingFd(id)
	return true, ""
}

// Passthrough says whether the kernel reads and maps segments itself, and if not,
// why.
func (s *Server) Passthrough() (ok bool, why string) { return s.bridge.passthrough, s.why }

// Requests counts the kernel's requests since the mount, by operation.
func (s *Server) Requests() map[string]int64 {
	out := make(map[string]int64, ops)
	for o, name := range opNames {
		out[name] = s.bridge.requests[o].Load()
	}
	return out
}

// RegistrationFailures counts opens that could not be given to the kernel.
func (s *Server) RegistrationFailures() int64 { return s.bridge.failures.Load() }

// Panics counts requests that ended in one.
func (s *Server) Panics() int64 { return s.bridge.panics.Load() }

// Nodes is how many names the kernel has looked up and not forgotten.
func (s *Server) Nodes() int { return s.bridge.table.size() }

// AttrChanged makes the kernel ask again for the attributes of a path below the
// mount, if it knows it. It never blocks.
func (s *Server) AttrChanged(path string) {
	if id, ok := s.bridge.table.find(path); ok {
		s.notes.changed(id)
	}
}

// Prune asks the kernel to forget the names that nobody uses, if they are many
// (Linux 6.18 and later; others forget when they need the memory).
func (s *Server) Prune() {
	const many, batch = 10_000, 1000
	ids := s.bridge.table.files()
	if len(ids) < many {
		return
	}
	for len(ids) > 0 {
		n := min(batch, len(ids))
		if status := s.fuse.PruneNotify(ids[:n]); !status.Ok() {
			return
		}
		ids = ids[n:]
	}
}

// NodeOf returns the entry behind an inode number that the kernel knows.
func (s *Server) NodeOf(ino uint64) (Entry, bool) {
	_, e, ok := s.bridge.table.get(ino)
	return e, ok
}

// Done is closed when the kernel has let go of the mount: it was unmounted and the
// last file of it was closed.
func (s *Server) Done() <-chan struct{} { return s.served }

// gracePeriod is how long Close waits for the end of a mount that nobody uses.
const gracePeriod = 200 * time.Millisecond

// Close ends what the server does by itself. The mount must be detached before:
// what processes still have of it ends with this process, but for mappings
// through passthrough. Close may be called again.
func (s *Server) Close() {
	s.closing.Do(s.notes.close)
	select {
	case <-s.served:
	case <-time.After(gracePeriod):
	}
}

// logWriter takes go-fuse's messages into the log.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	w.log.Warn("fuse", "message", strings.TrimSpace(string(p)))
	return len(p), nil
}
