// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package shm

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

// tempDir is t.TempDir, and a check when the test ends, after all its clean-ups,
// that it left no mount, no descriptor, no goroutine and no file.
func tempDir(t testing.TB) string {
	t.Helper()
	before := census()
	collect := debug.SetGCPercent(-1) // it closes files that are forgotten
	var dir string
	t.Cleanup(func() {
		defer debug.SetGCPercent(collect)
		deadline := time.Now().Add(5 * time.Second)
		for {
			now := census()
			now.mounts = slices.DeleteFunc(now.mounts, func(m string) bool {
				return !strings.HasPrefix(m, filepath.Dir(dir)) // other tests mount too
			})
			what := before.missing(now)
			if left, err := os.ReadDir(filepath.Dir(dir)); err == nil {
				what = append(what, fmt.Sprintf("files: %v", left))
			}
			if len(what) == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("left behind: %s", strings.Join(what, "\n"))
				return
			}
			runtime.Gosched() // a goroutine that has said it is done still has to end
		}
	})
	dir = filepath.Join(t.TempDir(), "test")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// possessions are what a process has.
type possessions struct {
	files, mounts []string
	goroutines    int
}

func census() possessions {
	p := possessions{goroutines: runtime.NumGoroutine()}
	if runtime.GOOS != "linux" {
		return p
	}
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil { // not the folder's own
			p.files = append(p.files, to)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		p.mounts = append(p.mounts, strings.Fields(line)[4])
	}
	return p
}

// missing says what now has that p has not.
func (p possessions) missing(now possessions) []string {
	var out []string
	if now.goroutines > p.goroutines {
		stacks := make([]byte, 1<<20)
		out = append(out, fmt.Sprintf("%d goroutines more\n%s", now.goroutines-p.goroutines, stacks[:runtime.Stack(stacks, true)]))
	}
	for _, f := range minus(now.files, p.files) {
		out = append(out, "descriptor of "+f)
	}
	for _, m := range minus(now.mounts, p.mounts) {
		out = append(out, "mount at "+m)
	}
	return out
}

// minus returns what is in a and not in b, each as often as it is more.
func minus(a, b []string) []string {
	b = slices.Clone(b)
	var out []string
	for _, x := range a {
		if i := slices.Index(b, x); i >= 0 {
			b = slices.Delete(b, i, i+1)
			continue
		}
		out = append(out, x)
	}
	return out
}

// need skips a test that this machine cannot run; where MODELFS_REQUIRE names
// the feature, the test fails.
func need(t testing.TB, feature string, ok bool, why string) {
	t.Helper()
	switch {
	case ok:
	case slices.Contains(strings.FieldsFunc(os.Getenv("MODELFS_REQUIRE"), func(r rune) bool { return r == ',' || r == ' ' }), feature):
		t.Fatalf("MODELFS_REQUIRE has %s: %s", feature, why)
	default:
		t.Skipf("no %s: %s", feature, why)
	}
}

func TestLeakCheckSees(t *testing.T) {
	leave := func() []string {
		before := census()
		f, err := os.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		end := make(chan struct{})
		defer close(end)
		go func() { <-end }()
		return before.missing(census())
	}
	const want = 2
	got := leave()
	for range 100 { // a goroutine of an earlier test may end meanwhile
		if len(got) == want {
			break
		}
		got = leave()
	}
	if runtime.GOOS == "linux" && len(got) != want {
		t.Errorf("got %q, want an open folder and a goroutine", got)
	}
	if got := minus([]string{"a", "b", "a"}, []string{"a"}); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("minus: %q", got)
	}
}
