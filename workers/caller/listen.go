// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package caller

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	socketMode  = 0o660           // unless another is given
	maxPath     = 107             // bytes, of struct sockaddr_un
	answerLimit = 2 * time.Second // for whoever has a socket of that name
)

// Listen makes the socket of an address: unix:/PATH, HOST:PORT or tcp:HOST:PORT. A Unix
// socket gets the mode, 0660 if that is 0: whoever may write it may connect. A folder
// that is missing is made, 0755. A socket of our own user that nobody answers at is
// replaced. The name goes when the listener is closed, if it is still its own.
func Listen(address string, mode os.FileMode) (net.Listener, error) {
	switch {
	case strings.HasPrefix(address, "unix-abstract:"):
		return nil, fmt.Errorf("listen on %s: abstract sockets have no permissions, anybody could connect: use unix:/PATH", address)
	case strings.HasPrefix(address, "unix:"):
		// gRPC takes both unix:/run/x.sock and unix:///run/x.sock.
		path := strings.TrimPrefix(strings.TrimPrefix(address, "unix:"), "//")
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("listen on %s: the path of a socket begins with a slash", address)
		}
		if mode == 0 {
			mode = socketMode
		}
		return listenUnix(filepath.Clean(path), mode.Perm())
	}
	hostPort := strings.TrimPrefix(address, "tcp:")
	_, _, err := net.SplitHostPort(hostPort) // net.Listen takes an empty one, too
	var l net.Listener
	if err == nil {
		l, err = net.Listen("tcp", hostPort)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s (unix:/PATH or HOST:PORT): %w", address, err)
	}
	return l, nil
}

func listenUnix(path string, mode os.FileMode) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("listen on %s: the path of a socket has at most %d bytes, this has %d", path, maxPath, len(path))
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of a socket: %w", err)
	}
	// Between the look at a stale socket and bind(2) another server could make its own,
	// and lose it. The lock is the folder's, so that no lock file is left.
	unlock, err := lock(dir)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// The name appears with the descriptor's mode less the umask: never with more
		// than is wanted, not for a moment.
		var err error
		if outer := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), uint32(mode)) }); outer != nil {
			return outer
		}
		return err
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil, fmt.Errorf("listen on %s: it is a %T", path, l)
	}
	u.SetUnlinkOnClose(false)
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(fmt.Errorf("set the mode of a socket: %w", err), u.Close(), os.Remove(path))
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(err, u.Close())
	}
	return &unixListener{UnixListener: u, path: path, made: info}, nil
}

// unixListener takes its name away when it is closed, and not one that another server
// has put there since.
type unixListener struct {
	*net.UnixListener
	path string
	made os.FileInfo
	once sync.Once
}

// Close ends the listener and removes its name.
func (l *unixListener) Close() error {
	l.once.Do(func() {
		if unlock, err := lock(filepath.Dir(l.path)); err == nil {
			defer unlock()
		}
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.made) {
			_ = os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}

// lock locks a folder until the returned function is called. Whoever can read the
// folder can lock it too: it does not wait for ever.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(answerLimit); ; time.Sleep(5 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		busy := errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR)
		if !busy || time.Now().After(deadline) {
			return nil, errors.Join(err, f.Close())
		}
	}
}

// removeStale removes a socket that a server has left behind.
func removeStale(path string) error {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return fmt.Errorf("look at %s: %w", path, err)
	case st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return fmt.Errorf("listen on %s: it exists and is no socket", path)
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("listen on %s: there is a socket of uid %d", path, st.Uid)
	}
	conn, err := net.DialTimeout("unix", path, answerLimit)
	if err == nil {
		conn.Close()
		return fmt.Errorf("listen on %s: another server answers there", path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("listen on %s: there is a socket, and it is not known whether somebody uses it: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove a socket that nobody uses: %w", err)
	}
	return nil
}
