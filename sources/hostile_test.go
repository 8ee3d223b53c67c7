// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/modelfs/modelfs/sources"
)

func TestDotDot(t *testing.T) {
	needRoot(t)
	p := newPlace(t)
	p.files("src/m/config.json", "private/x", "public/w.pt")
	p.link("../../private/../public/w.pt", "src/m/w.pt")
	p.check(os.Chmod(p.path("private"), 0o700))
	st := stat(t, model(t, p.source("src"), "m"), "w.pt")
	u := user{alice, staff, nil}
	reads, err := u.reads(p.path("src/m/w.pt"))
	p.check(err)
	if u.may(st) != reads {
		t.Errorf("shown %04o; on disk alice reads: %v", st.Mode, reads)
	}
}

func TestFileDotDot(t *testing.T) {
	p := newPlace(t)
	p.files("src/m/config.json", "src/m/plain")
	p.link("config.json/../plain", "src/m/w.pt")
	m := model(t, p.source("src"), "m")
	_, err := m.Stat("w.pt")
	_, gerr := m.Generation("w.pt")
	if (err == nil) != (gerr == nil) {
		t.Error("listed", listed(t, m, ""), "Stat", err, "Generation", gerr)
	}
}

func TestNotUTF8(t *testing.T) {
	p := newPlace(t)
	p.files("m/config.json", "m/caf\xe9.safetensors", "m\xe9/w.pt")
	s := p.source("")
	m := model(t, s, "m")
	for _, e := range listed(t, m, "") {
		if _, err := m.Stat(e); err != nil {
			t.Errorf("%q is listed, and: %v", e, err)
		}
	}
	t.Logf("%q", names(t, s))
}

func TestNoName(t *testing.T) {
	p := newPlace(t)
	p.files("-00001-of-00002.safetensors", "sub/x.txt")
	for _, n := range names(t, p.source("")) {
		if n == "" {
			t.Error("a model without a name")
		}
	}
	for _, n := range names(t, p.source("-00001-of-00002.safetensors")) {
		if n == "" {
			t.Error("a model without a name, of a file")
		}
	}
}

func TestFan(t *testing.T) {
	p := newPlace(t)
	for _, l := range []string{"a", "b", "c", "d"} {
		p.link(".", "loops/"+l)
	}
	p.files("z/w.pt")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := p.source("").Scan(ctx); err != nil {
		t.Error("five seconds for four links:", err)
	}
}

func TestReplacedByLink(t *testing.T) {
	p := newPlace(t)
	p.files("m/config.json", "m/w.pt", "x")
	m := model(t, p.source(""), "m")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if i%2 == 0 {
				_ = os.Symlink("../x", p.path("n"))
			} else {
				_ = os.WriteFile(p.path("n"), nil, 0o644)
			}
			_ = os.Rename(p.path("n"), p.path("m/w.pt"))
		}
	}()
	kinds := map[string]int{}
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		f, _, err := m.Open("w.pt")
		if err != nil && !errors.Is(err, sources.ErrReplaced) {
			kinds[err.Error()]++
		} else if err == nil {
			f.Close()
		}
	}
	close(stop)
	<-stopped
	if len(kinds) > 0 {
		t.Errorf("%v", kinds)
	}
}
