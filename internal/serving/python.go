// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/python"
)

// interpreter finds the Python of handlers: the one that is named, VIRTUAL_ENV's, or the
// one in PATH.
func interpreter(named string) (string, error) {
	if named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("--python %s: %w", named, err)
		}
		return filepath.Abs(path)
	}
	if env := os.Getenv("VIRTUAL_ENV"); env != "" {
		path := filepath.Join(env, "bin", "python")
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("VIRTUAL_ENV is %s: %w", env, err)
		}
		return path, nil
	}
	for _, name := range []string{"python3", "python"} {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", errors.New("handlers need Python: there is no python3 in PATH; name one with --python, or activate a virtual environment")
}

// packageName is the package, and the folder that it is in.
const packageName = "modelfs"

// folderPrefix is how the names of folders with the handlers' package begin.
const folderPrefix = "modelfs-serve-package-"

// unpack writes the package modelfs, which the program carries, into a folder that
// handlers import it from: server and handlers speak the same protocol then, whatever
// is installed. The folder is locked as long as this process lives, or until remove; what
// servers left behind that were killed is removed.
func unpack() (dir string, remove func(), err error) {
	removeLeft(os.TempDir())
	if dir, err = os.MkdirTemp("", folderPrefix); err != nil {
		return "", nil, fmt.Errorf("folder for the handlers' package: %w", err)
	}
	lock, err := lockFolder(dir)
	if err == nil {
		err = writePackage(dir)
	}
	remove = func() {
		removePackage(dir)
		_ = lock.Close()
	}
	if err != nil {
		remove()
		return "", nil, fmt.Errorf("folder for the handlers' package: %w", err)
	}
	return dir, remove, nil
}

// removeLeft removes the folders of servers of our own user that live no more: nobody has
// them locked, and they are not just being made.
func removeLeft(parent string) {
	left, _ := filepath.Glob(filepath.Join(parent, folderPrefix+"*")) // the pattern is good
	for _, dir := range left {
		lock, err := lockFolder(dir)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(lock.Fd()), &st); err == nil && int(st.Uid) == os.Geteuid() && time.Since(time.Unix(st.Mtim.Unix())) > time.Minute {
			removePackage(dir)
		}
		_ = lock.Close()
	}
}

// removePackage removes a folder with what writePackage wrote, and with nothing else: one
// that has more than that is somebody's who chose such a name.
func removePackage(dir string) {
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != packageName {
		return
	}
	_ = os.RemoveAll(filepath.Join(dir, packageName))
	_ = os.Remove(dir)
}

// lockFolder opens a folder and locks it, if nobody else has.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func writePackage(dir string) error {
	err := fs.WalkDir(python.Package, packageName, func(path string, d fs.DirEntry, err error) error {
		to := filepath.Join(dir, filepath.FromSlash(path))
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		}
		b, err := python.Package.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o644)
	})
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	return err
}

// environment is the handlers': this process's, with the package to import from, and the
// folder that the server was started in, where people have their own modules.
func environment(packageDir string) []string {
	path := []string{packageDir}
	if here, err := os.Getwd(); err == nil {
		path = append(path, here)
	}
	if have := os.Getenv("PYTHONPATH"); have != "" {
		path = append(path, have)
	}
	return append(os.Environ(), "PYTHONPATH="+strings.Join(path, string(os.PathListSeparator)), "PYTHONSAFEPATH=1", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1")
}
