// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// noFlush is the argument that spares the peer the request at each close.
const noFlush = "noflush"

// peerFile is the one file of an empty go-fuse server: OPEN opens the file behind
// it and lets the kernel have it. It can do nothing else, so a READ that came here
// would fail.
type peerFile struct {
	fs.Inode
	path  string
	size  uint64
	flags uint32
}

var (
	_ fs.NodeOpener          = (*peerFile)(nil)
	_ fs.NodeGetattrer       = (*peerFile)(nil)
	_ fs.FilePassthroughFder = (*peerHandle)(nil)
	_ fs.FileReleaser        = (*peerHandle)(nil)
)

func (f *peerFile) Open(context.Context, uint32) (fs.FileHandle, uint32, unix.Errno) {
	fd, err := unix.Open(f.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, fs.ToErrno(err)
	}
	return &peerHandle{fd}, f.flags, 0
}

func (f *peerFile) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) unix.Errno {
	out.Size, out.Mode, out.Nlink = f.size, 0o644, 1
	return 0
}

type peerHandle struct{ fd int }

func (h *peerHandle) PassthroughFd() (int, bool) { return h.fd, true }

func (h *peerHandle) Release(context.Context) unix.Errno { return fs.ToErrno(unix.Close(h.fd)) }

// servePeer mounts it, with names that the kernel may keep, until SIGTERM.
func servePeer(mount, path string, withoutFlush bool) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	file := &peerFile{path: path, size: uint64(st.Size())}
	if withoutFlush {
		file.flags = fuse.FOPEN_NOFLUSH
	}
	root := &fs.Inode{}
	long := time.Hour
	server, err := fs.Mount(mount, root, &fs.Options{
		EntryTimeout: &long, AttrTimeout: &long,
		OnAdd: func(ctx context.Context) {
			root.AddChild("f", root.NewPersistentInode(ctx, file, fs.StableAttr{}), false)
		},
		MountOptions: fuse.MountOptions{DirectMountStrict: true, MaxStackDepth: 1, FsName: "bench-peer"},
	})
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	fmt.Fprintln(os.Stderr, "ready")
	<-stop
	return server.Unmount()
}

// mountPeer starts it in a process of its own, and returns the path of its file.
func (b *bench) mountPeer(ctx context.Context, s *scope, name, path string, withoutFlush bool) (string, error) {
	mount, err := s.folder(name)
	if err != nil {
		return "", err
	}
	peer, err := startServer(ctx, "ready", b.self, helperWord, "peer-fuse", mount, path, map[bool]string{true: noFlush, false: "flush"}[withoutFlush])
	if err != nil {
		return "", err
	}
	s.add("end "+name, func() error {
		err := peer.end(0)
		if mounted(mount) {
			err = errors.Join(err, unix.Unmount(mount, unix.MNT_DETACH))
		}
		return err
	})
	file := mount + "/f"
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.Read(make([]byte, 1)); err != nil {
		return "", fmt.Errorf("%s: the kernel does not read by passthrough: %w", name, err)
	}
	return file, nil
}
