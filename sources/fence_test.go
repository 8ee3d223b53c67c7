// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package sources_test

import (
	"errors"
	"testing"

	"github.com/modelfs/modelfs/sources"
)

// TestFence: what leads into a fence is left out and refused, once it was told of; what
// lies around it is there. A source inside is refused.
func TestFence(t *testing.T) {
	p := newPlace(t)
	p.files("src/a/w.pt", "src/a/in/w.pt", "src/b/config.json", "src/in/inside/w.pt")
	p.link("../in", "src/b/linked")
	p.link("../a/w.pt", "src/b/w.pt")
	p.link("b/../in", "src/around")
	var refused []string
	fence, err := sources.NewFence(p.path("src/in"), func(path string) { refused = append(refused, path) })
	p.check(err)
	for _, spec := range []string{"src/in", "src/in/inside", "src/around", "src/b/linked"} {
		if _, err := sources.Resolve(p.path(spec), fence); !errors.Is(err, sources.ErrOwnMount) {
			t.Errorf("a source %s: %v", spec, err)
		}
	}
	same(t, "refused before there is a mount", refused, nil)
	s, err := sources.Resolve(p.path("src"), fence)
	p.check(err)
	fence.Mounted(1) // no filesystem has it: the folder itself tells
	for range 2 {
		same(t, "models", names(t, s), []string{"a", "b"})
		b := model(t, s, "b")
		same(t, "b", listed(t, b, ""), []string{"config.json", "w.pt"})
		_, statErr := b.Stat("linked")
		_, genErr := b.Generation("linked")
		_, _, openErr := b.Open("linked")
		for _, err := range []error{statErr, genErr, openErr} {
			if !errors.Is(err, sources.ErrOwnMount) {
				t.Errorf("a link that leads inside: %v", err)
			}
		}
		stat(t, b, "w.pt")
		stat(t, model(t, s, "a"), "in/w.pt")
	}
	same(t, "refused", refused, []string{p.path("src/around"), p.path("src/b/linked"), p.path("src/in")})
}
