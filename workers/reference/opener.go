// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/workers/caller"
)

// Options are an Opener's. The zero value of each but Root and NextKey is good.
type Options struct {
	// Root is the mount; "": there is none, and only shared memory can be opened.
	Root string
	// NextKey makes keys of files that handlers map: handler.NextKey.
	NextKey func() uint64
	// Command starts a helper, which calls ServeHelper. The first element is the path of
	// an executable that every user may run. nil: this program, whose main calls
	// HelperMain.
	Command []string
	// Helpers is how many run at a time; 0: 16.
	Helpers int
	// Idle is after how long without a question a helper ends; 0: a minute.
	Idle time.Duration
	// LoadLimit is how long an open waits for a tensor to be loaded; 0: a minute.
	LoadLimit time.Duration
	// AnyRoot takes a Root of any file system. Files of a modelfs mount do not shrink;
	// handlers map them for that reason. It is for tests.
	AnyRoot bool
}

// Opener opens files with the rights of callers. It is safe for use by many.
type Opener struct {
	root        string
	anyRoot     bool
	command     []string
	environment []string
	idle        time.Duration
	loadLimit   time.Duration
	me          caller.User
	pool        *pool
	turns       chan struct{} // has a value for each open that needs no helper

	mount atomic.Uint64 // the last mount at root that was seen to be FUSE
	files *files
	late  *lately
	held  *held
}

// NewOpener makes an Opener. It starts nothing before it is needed.
func NewOpener(o Options) (*Opener, error) {
	if o.Root != "" {
		if o.NextKey == nil {
			return nil, errors.New("open files of a mount: no NextKey")
		}
		var err error
		if o.Root, err = filepath.Abs(o.Root); err != nil { // helpers have another folder
			return nil, fmt.Errorf("open files of %s: %w", o.Root, err)
		}
		if len(o.Root) > maxPath {
			return nil, fmt.Errorf("open files of a mount: its path has %d bytes, at most %d", len(o.Root), maxPath)
		}
	}
	groups, err := os.Getgroups()
	if err != nil {
		return nil, fmt.Errorf("ask for our own groups: %w", err)
	}
	me := caller.User{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())}
	for _, g := range groups {
		me.Groups = append(me.Groups, uint32(g))
	}
	p := &Opener{
		root: o.Root, anyRoot: o.AnyRoot, command: o.Command, idle: or(o.Idle, time.Minute), loadLimit: or(o.LoadLimit, time.Minute), me: me,
		// One for each thread that waits for questions: with fewer, the one that gets the
		// next question waits for the runtime to take it from the one before, 50 µs.
		environment: []string{"GOMAXPROCS=" + strconv.Itoa(spareThreads)},
		turns:       make(chan struct{}, maxQuestions),
		files:       newFiles(o.NextKey), late: newLately(), held: newHeld(),
	}
	if p.command == nil {
		// Not os.Executable: the folders above it may be closed to others.
		p.command = []string{"/proc/self/exe"}
		p.environment = append(p.environment, helperEnv+"=1")
	}
	p.pool = newPool(or(o.Helpers, 16), p.startProcess)
	return p, nil
}

func or[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// Close ends the helpers and waits for them. Files that were opened stay open.
func (o *Opener) Close() error {
	o.pool.close()
	o.late.close()
	return nil
}

// Open opens a place with a user's rights, to read, or to read and write. While a tensor
// is loaded it waits, until ctx ends or the limit is reached; it keeps no other call
// waiting meanwhile.
func (o *Opener) Open(ctx context.Context, user caller.User, place Place, write bool) (*os.File, error) {
	f, _, err := o.open(ctx, user, place, write)
	return f, err
}

// shared opens a place of the mount for a call, or takes it as another call has opened it.
func (o *Opener) shared(ctx context.Context, user caller.User, place Place, write bool) (*open, identity, error) {
	if place.kind == inMount && o.own(user) {
		id, err := here(ctx, o, func(who *patient) (identity, error) { return lookBelow(o.root, place, write, who) })
		if err == nil {
			if f := o.late.take(id); f != nil {
				return f, id, nil
			}
		}
	}
	f, st, err := o.open(ctx, user, place, write)
	if err != nil {
		return nil, identity{}, err
	}
	id := identityOf(&st, write)
	if !o.own(user) {
		return &open{file: f, st: st, users: 1}, id, nil
	}
	return o.late.add(id, f, st), id, nil
}

const firstPause, longestPause = time.Millisecond, 50 * time.Millisecond

func (o *Opener) open(ctx context.Context, user caller.User, place Place, write bool) (*os.File, unix.Statx_t, error) {
	limited, cancel := context.WithTimeout(ctx, o.loadLimit)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		f, st, err := o.openNow(limited, user, place, write)
		if errors.Is(err, unix.EAGAIN) {
			select {
			case <-time.After(pause):
				continue
			case <-limited.Done():
				err = fmt.Errorf("open %s: wait until it is loaded: %w", place, ctx.Err())
			}
		}
		if err != nil && limited.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("open %s: %w: it was not loaded within %v", place, ErrUnavailable, o.loadLimit)
		}
		return f, st, err
	}
}

// here does in this process what may wait for the mount, for whom that needs no helper.
// As many may wait as in one.
func here[V any](ctx context.Context, o *Opener, call func(*patient) (V, error)) (V, error) {
	select {
	case o.turns <- struct{}{}:
	case <-ctx.Done():
		var none V
		return none, fmt.Errorf("%w: %d files are waited for: %w", ErrLimit, maxQuestions, ctx.Err())
	}
	defer func() { <-o.turns }()
	return patiently(ctx, call)
}

// openNow fails with EAGAIN while the file is being loaded.
func (o *Opener) openNow(ctx context.Context, user caller.User, place Place, write bool) (*os.File, unix.Statx_t, error) {
	var st unix.Statx_t
	if place.kind == 0 || place.kind == inMount && o.root == "" {
		return nil, st, fmt.Errorf("open %s: %w: this server knows no mount", place, ErrPlace)
	}
	fd, err := o.descriptor(ctx, user, place, write)
	switch {
	case err == nil:
	case errors.Is(err, unix.EAGAIN):
		return nil, st, unix.EAGAIN
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrLimit), errors.Is(err, ErrUnavailable), errors.Is(err, ErrPermission):
		return nil, st, fmt.Errorf("open %s: %w", place, err)
	default:
		return nil, st, failed(place, err)
	}
	st, err = o.admit(fd, place, write)
	if err != nil {
		unix.Close(fd)
		return nil, st, err
	}
	return os.NewFile(uintptr(fd), place.String()), st, nil
}

func (o *Opener) descriptor(ctx context.Context, user caller.User, place Place, write bool) (fd int, err error) {
	if o.own(user) {
		return here(ctx, o, func(who *patient) (int, error) { return openBelow(o.root, place, write, who) })
	}
	if o.me.Uid != 0 {
		return -1, fmt.Errorf("%w: this server runs as uid %d and opens files for that user only, with all of its groups; the caller is uid %d", ErrPermission, o.me.Uid, user.Uid)
	}
	err = o.pool.with(ctx, user, func(p *process) error {
		fd, err = p.ask(ctx, place, write)
		return err
	})
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// own says whether a user may open all that this process may: it needs no helper then.
// Root may, whatever his groups.
func (o *Opener) own(user caller.User) bool {
	if user.Uid != o.me.Uid {
		return false
	}
	in := func(g uint32) bool { return g == user.Gid || slices.Contains(user.Groups, g) }
	return user.Uid == 0 || in(o.me.Gid) && !slices.ContainsFunc(o.me.Groups, func(g uint32) bool { return !in(g) })
}

// admit looks at a descriptor that a helper says is what was asked for. A helper runs
// with its user's rights: what it says is what a user says. So a descriptor that was not
// opened for this, or is none of this file system, is refused: one of a user's own
// file system could keep a handler waiting for ever, or shrink under it.
func (o *Opener) admit(fd int, place Place, write bool) (unix.Statx_t, error) {
	var st, top unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, identified, &st); err != nil {
		if errors.Is(err, unix.EACCES) {
			return st, fmt.Errorf("look at %s: %w: the mount lets in nobody but its own user, and this server is another's (modelfs mount --allow-other)", place, ErrPermission)
		}
		return st, failed(place, err)
	}
	dir, err := openFolder(folderOf(o.root, place))
	if err != nil {
		return st, failed(place, err)
	}
	defer unix.Close(dir)
	if err := unix.Statx(dir, "", unix.AT_EMPTY_PATH, mountID, &top); err != nil {
		return st, failed(place, err)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return st, failed(place, err)
	}
	mode := unix.O_RDONLY
	if write {
		mode = unix.O_RDWR
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return st, failed(place, errNotRegular)
	case flags&(unix.O_ACCMODE|unix.O_PATH|unix.O_APPEND|unix.O_NONBLOCK|unix.O_DIRECT) != mode, st.Mnt_id != top.Mnt_id:
		return st, fmt.Errorf("open %s: %w: a helper handed over another file", place, ErrPlace)
	}
	if place.kind == inMount {
		return st, o.checkMount(dir, top.Mnt_id)
	}
	return st, nil
}

// identified is all of a file that is looked at.
const identified = unix.STATX_TYPE | unix.STATX_SIZE | unix.STATX_INO | mountID

// mountID asks for a number that no later mount has, where the kernel can say it.
const mountID = unix.STATX_MNT_ID | unix.STATX_MNT_ID_UNIQUE

// checkMount sees, once for each mount, that a file system in user space is at the root:
// where the mount has gone, a folder of a disk is left.
func (o *Opener) checkMount(dir int, id uint64) error {
	if o.anyRoot || o.mount.Load() == id+1 {
		return nil
	}
	var st unix.Statfs_t
	if _, err := again(func() (int, error) { return 0, unix.Fstatfs(dir, &st) }); err != nil {
		return fmt.Errorf("look at %s: %w: %w", o.root, ErrUnavailable, err)
	}
	if st.Type != unix.FUSE_SUPER_MAGIC {
		return fmt.Errorf("%w: nothing is mounted at %s", ErrUnavailable, o.root)
	}
	o.mount.Store(id + 1)
	return nil
}
