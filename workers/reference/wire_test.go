// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWire(t *testing.T) {
	for _, q := range []question{
		{kind: asksRoot, id: 60000, path: "/mnt/models"}, {kind: inMount, write: true, id: 1<<32 - 1, path: "sessions/a/b"},
		{kind: takesBack, id: 7}, {kind: inSharedMemory, id: 7, path: "k"}, {kind: inMount, path: strings.Repeat("p", maxPath)},
	} {
		if got, err := parseQuestion(q.append(nil)); err != nil || got != q {
			t.Errorf("%+v: %+v %v", q, got, err)
		}
	}
	for _, a := range []answer{{}, {7, unix.EACCES}, {1<<32 - 1, 4095}} {
		if got, err := parseAnswer(a.append(nil)); err != nil || got != a {
			t.Errorf("%+v: %+v %v", a, got, err)
		}
	}
	good := question{kind: inMount, id: 1, path: "sessions/a/b"}.append(nil)
	for name, b := range map[string][]byte{
		"empty": nil, "cut": good[:len(good)-1], "longer": append(bytes.Clone(good), 0), "kind": append([]byte{9}, good[1:]...),
		"flag": append([]byte{1, 2}, good[2:]...), "head only": good[:7], "too long": question{kind: inMount, path: strings.Repeat("p", maxPath+1)}.append(nil),
	} {
		if q, err := parseQuestion(b); !errors.Is(err, errWire) {
			t.Errorf("%s: %+v %v", name, q, err)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, 7), make([]byte, 9), {0, 0, 0, 0, 0, 0x10, 0, 0}} {
		if a, err := parseAnswer(b); !errors.Is(err, errWire) {
			t.Errorf("%x: %+v %v", b, a, err)
		}
	}
	for _, q := range []question{{kind: asksRoot, path: "sessions/a/b"}, {kind: takesBack, path: "sessions/a/b"}, {kind: inMount, path: "../x"}, {kind: inSharedMemory, path: "/x"}, {kind: inSharedMemory, path: "a/b"}} {
		if p, err := q.place(); err == nil {
			t.Errorf("%+v is %+v", q, p)
		}
	}
}

func FuzzWire(f *testing.F) {
	f.Add(question{kind: inMount, write: true, id: 3, path: "sessions/a/b"}.append(nil))
	f.Add(question{kind: inSharedMemory, id: 3, path: "psm_1"}.append(nil))
	f.Add(answer{3, unix.ENOENT}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := parseQuestion(b); err == nil && !bytes.Equal(q.append(nil), b) {
			t.Errorf("%x is %+v", b, q)
		} else if err == nil {
			if p, err := q.place(); err == nil && (p.kind != q.kind || p.path != q.path) {
				t.Errorf("%+v is at %+v", q, p)
			}
		}
		if a, err := parseAnswer(b); err == nil && !bytes.Equal(a.append(nil), b) {
			t.Errorf("%x is %+v", b, a)
		}
	})
}
