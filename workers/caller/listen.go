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
// socket gets the mode, 0660 if that is 0: whoever may write it may connect. Its folder is
// made if it is missing, one that everybody may pass, and goes with the socket if nothing
// else is in it; the folder above has to be there. A socket of our own user that nobody
// answers at is replaced. The name goes when the listener is closed, if it is still its own.
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
	// Between the look at a stale socket and bind(2) another server could make its own,
	// and lose it. The lock is the folder's, so that no lock file is left.
	madeFolder, unlock, err := folder(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("folder of the socket %s: %w", path, err)
	}
	defer unlock()
	l, err := bind(path, mode)
	if err != nil {
		if madeFolder {
			_ = os.Remove(filepath.Dir(path))
		}
		return nil, err
	}
	l.madeFolder = madeFolder
	return l, nil
}

// folder makes a folder if it is missing, and locks it. Between the two another server may
// take it away that had made it.
func folder(dir string) (made bool, unlock func(), err error) {
	for {
		switch err := os.Mkdir(dir, 0o755); {
		case err == nil:
			made = true
			if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask is
				return false, nil, errors.Join(err, os.Remove(dir))
			}
		case errors.Is(err, os.ErrExist):
			made = false
		default:
			return false, nil, err
		}
		unlock, err = lock(dir)
		if !errors.Is(err, os.ErrNotExist) {
			return made, unlock, err
		}
	}
}

// bind makes the socket. Its folder is there, and locked.
func bind(path string, mode os.FileMode) (*unixListener, error) {
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
	path       string
	made       os.FileInfo
	madeFolder bool
	once       sync.Once
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
		if l.madeFolder {
			_ = os.Remove(filepath.Dir(l.path)) // stays while something is in it
		}
	})
	return l.UnixListener.Close()
}

// lock locks a folder until the returned function is called. Whoever can read the
// folder can lock it too: it does not wait for ever. A folder that has lost its name is not
// there.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(answerLimit); ; time.Sleep(5 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			if err := named(f, dir); err != nil {
				return nil, errors.Join(err, f.Close())
			}
			return func() { f.Close() }, nil
		}
		busy := errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR)
		if !busy || time.Now().After(deadline) {
			return nil, errors.Join(err, f.Close())
		}
	}
}

// named says whether a folder that is open has the name still: os.ErrNotExist.
func named(f *os.File, dir string) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	now, err := os.Stat(dir)
	if err == nil && !os.SameFile(mine, now) {
		err = os.ErrNotExist
	}
	return err
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
