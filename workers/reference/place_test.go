// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"errors"
	"path"
	"strings"
	"testing"
)

func TestMountPlace(t *testing.T) {
	long := strings.Repeat("n", 255)
	for _, good := range []string{
		"sessions/camera/frame.npy", "tensors/whisper/encoder/conv1.weight", "sessions/a/...", "sessions/a/.b", "sessions/a/\xff", "sessions/" + long + "/" + long,
		"sessions/a/b c\n", `sessions/a/..\b`,
	} {
		if p, err := MountPlace(good); err != nil || p.path != good {
			t.Errorf("%q: %v %v", good, p, err)
		}
	}
	for _, bad := range []string{
		"", "/", ".", "..", "sessions", "sessions/", "sessions/a", "sessions/a/", "sessions//b", "/sessions/a/b", "sessions/a/b/", "./sessions/a/b", "sessions/./a/b",
		"sessions/a/..", "sessions/../tensors/a/b", "sessions/a/../../models/b", "models/a/b", "objects/0/key", ".modelfs/a/b", "Sessions/a/b", "sessionsx/a/b",
		"sessions/a/b\x00", "sessions/\x00/b", "sessions/a/" + long + "n", "sessions/a" + strings.Repeat("/b", 2100), "../sessions/a/b",
	} {
		if p, err := MountPlace(bad); !errors.Is(err, ErrPlace) || p != (Place{}) {
			t.Errorf("%.40q: %v %v", bad, p, err)
		}
	}
}

func TestSharedMemory(t *testing.T) {
	for key, want := range map[string]string{"/a": "a", "a": "a", "wrk_in": "wrk_in", "/psm_1.2": "psm_1.2", "...": "...", strings.Repeat("k", 255): strings.Repeat("k", 255)} {
		if p, err := SharedMemory(key); err != nil || p.path != want {
			t.Errorf("%q: %+v %v", key, p, err)
		}
	}
	for _, bad := range []string{
		"", "/", "//a", "/a/b", "a/b", "a/", "..", "/..", ".", "secret\x00", "../secret", "/../secret", strings.Repeat("k", 256),
		"triton_python_backend_shm_region_1", "/triton_python_backend_shm_region_",
	} {
		p, err := SharedMemory(bad)
		if !errors.Is(err, ErrPlace) || p != (Place{}) {
			t.Errorf("%q: %v %v", bad, p, err)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "triton")) {
			t.Errorf("the error has the key: %v", err)
		}
	}
	if p, _ := SharedMemory("secret"); strings.Contains(p.String(), "secret") {
		t.Errorf("it prints as %s", p)
	}
}

// FuzzPlace: what is taken is one name only, and lies below.
func FuzzPlace(f *testing.F) {
	for _, seed := range []string{"sessions/camera/frame.npy", "tensors/a/../b", "/psm_1", "//x", "sessions/a/b\x00", "..", "a/b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := MountPlace(s); err == nil {
			parts := strings.Split(p.path, "/")
			if p.path != s || path.Clean("/"+s) != "/"+s || len(parts) < 3 || parts[0] != "sessions" && parts[0] != "tensors" || strings.Contains(s, "\x00") {
				t.Errorf("%q is a path", s)
			}
		} else if !errors.Is(err, ErrPlace) || len(err.Error()) > 3000 {
			t.Errorf("%q: %v", s, err)
		}
		if p, err := SharedMemory(s); err == nil {
			if strings.TrimPrefix(s, "/") != p.path || strings.ContainsAny(p.path, "/\x00") || path.Base("/"+p.path) != p.path || p.path == ".." {
				t.Errorf("%q is a key", s)
			}
		} else if !errors.Is(err, ErrPlace) || len(s) > 3 && strings.Contains(err.Error(), s) {
			t.Errorf("%q: %v", s, err)
		}
	})
}
