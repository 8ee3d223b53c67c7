// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tensors

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// cut is a component that is too long: what is kept, and the digest.
func cut(keep, whole string) string {
	return keep + "%~" + fmt.Sprintf("%x", sha256.Sum256([]byte(whole)))[:16]
}

func TestEscapePath(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct{ rule, name, want string }{
		{"most are what they are", "model.layers.0.mlp.weight", "model.layers.0.mlp.weight"},
		{"also these", "a b\tc\n:*?\"<>|\\~$'größe💡", "a b\tc\n:*?\"<>|\\~$'größe💡"},
		{"/ is a folder", "encoder/block/0", "encoder/block/0"},

		{"%", "100%", "100%25"},
		{"% of what looks escaped", "a%2Eb", "a%252Eb"},
		{"NUL", "a\x00b", "a%00b"},
		{"not UTF-8", "a\xff\xfeb", "a%FF%FEb"},
		{"cut short", "gr\xc3", "gr%C3"},
		{"a surrogate", "\xed\xa0\x80", "%ED%A0%80"},
		{"overlong", "\xc0\xaf", "%C0%AF"},
		{"the replacement character itself", "\ufffd", "\ufffd"},

		{".", ".", "%2E"},
		{"..", "..", "%2E%2E"},
		{". and .. inside", "a/./../b", "a/%2E/%2E%2E/b"},
		{"three dots are a name", "...", "..."},
		{"a dot file is a name", ".hidden/..b", ".hidden/..b"},

		{".npy at the end", "w.npy", "w%2Enpy"},
		{"only the last dot", "a.npy.npy", "a.npy%2Enpy"},
		{"nothing else", ".npy", "%2Enpy"},
		{".npy of a folder, which w's own .npy is beside", "w.npy/b", "w%2Enpy/b"},
		{".NPY is a name", "w.NPY", "w.NPY"},
		{".npy in the middle", "w.npy.bias", "w.npy.bias"},
		{"npy without a dot", "wnpy", "wnpy"},

		{"index.json at the top", "index.json", "index%2Ejson"},
		{"index.json as a folder at the top", "index.json/a", "index%2Ejson/a"},
		{"index.json further down", "a/index.json", "a/index.json"},

		{"nothing", "", "%"},
		{"empty first", "/a", "%/a"},
		{"empty last", "a/", "a/%"},
		{"empty inside", "a//b", "a/%/b"},
		{"only a slash", "/", "%/%"},

		{"250 bytes", x(250), x(250)},
		{"251 bytes", x(251), cut(x(200), x(251))},
		{"each component", x(251) + "/" + x(250), cut(x(200), x(251)) + "/" + x(250)},
		{"250 bytes that escape to more", x(249) + "%", cut(x(200), x(249)+"%")},
		{"250 bytes with .npy", x(246) + ".npy", cut(x(200), x(246)+".npy")},
		{"248 bytes with .npy", x(244) + ".npy", x(244) + "%2Enpy"},
		{"cut at a character", x(199) + strings.Repeat("ü", 30), cut(x(199), x(199)+strings.Repeat("ü", 30))},
		{"cut behind a character", x(198) + strings.Repeat("ü", 30), cut(x(198)+"ü", x(198)+strings.Repeat("ü", 30))},
		{"cut at an escape", x(198) + strings.Repeat("%", 30), cut(x(198), x(198)+strings.Repeat("%", 30))},
		{"what is behind the cut counts", x(300) + "1", cut(x(200), x(300)+"1")},
	} {
		if got := EscapePath(c.name); got != c.want {
			t.Errorf("%s: EscapePath(%q) = %q, want %q", c.rule, c.name, got, c.want)
		}
	}
}

func named(names ...string) []Tensor {
	ts := make([]Tensor, len(names))
	for i, n := range names {
		ts[i].Name = n
	}
	return ts
}

func TestTree(t *testing.T) {
	for _, c := range []struct {
		rule            string
		names, reserved []string
		paths           []string
	}{
		{"a tensor that is also a folder", []string{"a", "a/b", "ab"}, nil, []string{"a%", "a/b", "ab"}},
		{"on every level", []string{"a/b", "a/b/c", "a/b/c/d"}, nil, []string{"a/b%", "a/b/c%", "a/b/c/d"}},
		{"a name with % is another", []string{"a", "a/b", "a%"}, nil, []string{"a%", "a/b", "a%25"}},
		{"an empty one is also a folder", []string{"", "/x"}, nil, []string{"%%", "%/x"}},
		{"a and a/", []string{"a", "a/"}, nil, []string{"a%", "a/%"}},
		{"no folder, but begins alike", []string{"a", "a.b", "a-b/c"}, nil, []string{"a", "a.b", "a-b/c"}},
		{"a and a.npy", []string{"a", "a.npy"}, nil, []string{"a", "a%2Enpy"}},
		{"a and the folder a.npy", []string{"a", "a.npy/b"}, nil, []string{"a", "a%2Enpy/b"}},
		{"index and index.json", []string{"index", "index.json"}, nil, []string{"index", "index%2Ejson"}},

		{"reserved", []string{"q4.gguf", "w"}, []string{"q4.gguf"}, []string{"q4.gguf%", "w"}},
		{"a reserved folder", []string{"q/a", "q/b", "x/q"}, []string{"q"}, []string{"q%/a", "q%/b", "x/q"}},
		{"both", []string{"q", "q/a"}, []string{"q"}, []string{"q%%", "q%/a"}},
		{"reserved twice", []string{"q", "q%"}, []string{"q", "q%"}, []string{"q%%", "q%25"}},
		{"a reserved that looks escaped", []string{"q%"}, []string{"q%25"}, []string{"q%25%"}},
		{"a reserved NPY form", []string{"q", "q.npy"}, []string{"q.npy"}, []string{"q%", "q%2Enpy"}},
		{"that is no matter for a folder", []string{"q/a"}, []string{"q.npy"}, []string{"q/a"}},
		{"both and reserved", []string{"q", "q/a"}, []string{"q%"}, []string{"q%%", "q/a"}},
	} {
		tree := NewTree(named(c.names...), c.reserved...)
		if !slices.Equal(tree.paths, c.paths) {
			t.Errorf("%s: %q, want %q", c.rule, tree.paths, c.paths)
		}
		checkTree(t, c.names, c.reserved)
	}
}

func TestTreeLookup(t *testing.T) {
	tree := NewTree(named("a", "a/b", "a/c/d", "z", "z.npy", "index.json"))
	for _, c := range []struct {
		dir, name string
		want      Node
	}{
		{"", "a", Node{Name: "a", Folder: true}},
		{"", "a%", Node{Name: "a%", Ordinal: 0}},
		{"", "a%.npy", Node{Name: "a%.npy", Ordinal: 0, NPY: true}},
		{"a", "b", Node{Name: "b", Ordinal: 1}},
		{"a", "b.npy", Node{Name: "b.npy", Ordinal: 1, NPY: true}},
		{"a", "c", Node{Name: "c", Folder: true}},
		{"a/c", "d", Node{Name: "d", Ordinal: 2}},
		{"", "z", Node{Name: "z", Ordinal: 3}},
		{"", "z.npy", Node{Name: "z.npy", Ordinal: 3, NPY: true}},
		{"", "z%2Enpy", Node{Name: "z%2Enpy", Ordinal: 4}},
		{"", "z%2Enpy.npy", Node{Name: "z%2Enpy.npy", Ordinal: 4, NPY: true}},
		{"", "index%2Ejson", Node{Name: "index%2Ejson", Ordinal: 5}},
	} {
		if got, ok := tree.Lookup(c.dir, c.name); !ok || got != c.want {
			t.Errorf("%q in %q: %+v, %v, want %+v", c.name, c.dir, got, ok, c.want)
		}
	}
	for _, c := range [][2]string{
		{"", ""},
		{"", "."},
		{"", ".npy"},
		{"", "b"},
		{"", "a.npy"}, // a folder has no NPY form
		{"", "z.npy.npy"},
		{"", "index.json"},
		{"a", ""},
		{"a", "c.npy"},
		{"a", "x"},
		{"z", "x"},
		{"nothing", "a"},
	} {
		if got, ok := tree.Lookup(c[0], c[1]); ok {
			t.Errorf("%q in %q: %+v", c[1], c[0], got)
		}
	}
	if got := tree.List("nothing"); len(got) != 0 {
		t.Errorf("a folder that does not exist holds %v", got)
	}
	if got := tree.List("z"); len(got) != 0 {
		t.Errorf("a tensor holds %v", got)
	}
	empty := NewTree(nil)
	if got := empty.List(""); len(got) != 0 {
		t.Errorf("an empty tree holds %v", got)
	}
}

// checkTree checks what holds for every set of distinct names: a tensor's path
// finds the tensor, nothing is listed twice, all that is listed is found again,
// and every tensor is listed once in each form.
func checkTree(t *testing.T, names, reserved []string) {
	t.Helper()
	tree := NewTree(named(names...), reserved...)
	for i := range names {
		p := tree.Path(i)
		dir, name := "", p
		if at := strings.LastIndexByte(p, '/'); at >= 0 {
			dir, name = p[:at], p[at+1:]
		}
		checkComponents(t, p, 255-len(npySuffix))
		for _, npy := range []bool{false, true} {
			if npy {
				name += npySuffix
			}
			if got, ok := tree.Lookup(dir, name); !ok || got != (Node{Name: name, Ordinal: i, NPY: npy}) {
				t.Errorf("%q is at %q, where %+v is (%v)", names[i], p, got, ok)
			}
		}
	}
	seen := make(map[Node]int) // by ordinal and form
	walk(t, tree, "", reserved, seen)
	if len(seen) != 2*len(names) {
		t.Errorf("%d forms of %d tensors are listed", len(seen), len(names))
	}
	for n, times := range seen {
		if times != 1 {
			t.Errorf("%q is listed %d times", names[n.Ordinal], times)
		}
	}
}

func walk(t *testing.T, tree *Tree, dir string, reserved []string, seen map[Node]int) {
	t.Helper()
	here := make(map[string]bool)
	for _, n := range tree.List(dir) {
		if here[n.Name] || dir == "" && (n.Name == IndexName || slices.Contains(reserved, n.Name)) {
			t.Errorf("%q in %q is there already", n.Name, dir)
		}
		here[n.Name] = true
		if got, ok := tree.Lookup(dir, n.Name); !ok || got != n {
			t.Errorf("%+v is listed in %q, %+v is found (%v)", n, dir, got, ok)
		}
		if !n.Folder {
			seen[Node{Ordinal: n.Ordinal, NPY: n.NPY}]++
			continue
		}
		below := n.Name
		if dir != "" {
			below = dir + "/" + n.Name
		}
		if len(tree.List(below)) == 0 {
			t.Errorf("folder %q is empty", below)
		}
		walk(t, tree, below, reserved, seen)
	}
}

// checkComponents: every one can be a file's name.
func checkComponents(t *testing.T, p string, limit int) {
	t.Helper()
	for _, c := range strings.Split(p, "/") {
		if c == "" || c == "." || c == ".." || len(c) > limit || strings.ContainsRune(c, 0) || !utf8.ValidString(c) {
			t.Errorf("component %q (%d bytes) of %q", c, len(c), p)
		}
	}
}

// unescape is the inverse of EscapePath, where nothing was cut.
func unescape(t *testing.T, p string) string {
	t.Helper()
	parts := strings.Split(p, "/")
	for i, c := range parts {
		if c == "%" {
			parts[i] = ""
			continue
		}
		var b strings.Builder
		for j := 0; j < len(c); j++ {
			if c[j] != '%' {
				b.WriteByte(c[j])
				continue
			}
			if j+3 > len(c) || c[j+1:j+3] != strings.ToUpper(c[j+1:j+3]) {
				t.Fatalf("%q has a %% alone", p)
			}
			x, err := strconv.ParseUint(c[j+1:j+3], 16, 8)
			if err != nil {
				t.Fatalf("%q: %v", p, err)
			}
			b.WriteByte(byte(x))
			j += 2
		}
		parts[i] = b.String()
	}
	return strings.Join(parts, "/")
}

func checkEscape(t *testing.T, name string) {
	t.Helper()
	p := EscapePath(name)
	checkComponents(t, p, 250)
	for _, c := range strings.Split(p, "/") {
		if strings.HasSuffix(c, npySuffix) {
			t.Errorf("EscapePath(%q) = %q is like an NPY form", name, p)
		}
	}
	if p == IndexName || strings.HasPrefix(p, IndexName+"/") {
		t.Errorf("EscapePath(%q) = %q is like the index", name, p)
	}
	if strings.Count(p, "/") != strings.Count(name, "/") {
		t.Errorf("EscapePath(%q) = %q has other folders", name, p)
	}
	if strings.Contains(p, "%~") {
		return // its digest stands for it
	}
	if back := unescape(t, p); back != name {
		t.Errorf("EscapePath(%q) = %q is the path of %q", name, p, back)
	}
}

// FuzzEscapePath takes sets of names, and of names that are reserved, separated
// by "|".
func FuzzEscapePath(f *testing.F) {
	long := strings.Repeat("ü", 126)
	f.Add("a|a/b|a%|a.npy|a.npy/c||/|//|.|..|index.json|index.json/x", "a")
	f.Add("%|%%|%25|%2E|%/|\xff|\xfe|\x00|a\xffb|\ufffd", "%|%%|%25")
	f.Add(long+"|"+long+"x|"+long+".npy|"+long+"/"+long, long)
	f.Add("q|q/a|q%|q%/a|q%%|q.npy", "q|q%|q.npy|q%.npy")
	f.Add("a/b/c|a/b|a|a/b/c/d|a-/x|a0", "b")
	f.Fuzz(func(t *testing.T, all, taken string) {
		if len(all) > 4096 || len(taken) > 1024 {
			return // the checks take the square of it
		}
		names := strings.Split(all, "|")
		slices.Sort(names)
		names = slices.Compact(names)
		paths := make(map[string]string)
		for _, name := range names {
			checkEscape(t, name)
			if other, ok := paths[EscapePath(name)]; ok {
				t.Errorf("%q and %q are both at %q", name, other, EscapePath(name))
			}
			paths[EscapePath(name)] = name
		}
		checkTree(t, names, nil)
		var reserved []string // what can be a file's name
		for r := range strings.SplitSeq(taken, "|") {
			if r != "" && len(r) < 200 && !strings.Contains(r, "/") {
				reserved = append(reserved, r)
			}
		}
		if len(reserved) < 5 { // each may append a "%"
			shorter := slices.DeleteFunc(names, func(n string) bool { return len(n) > 200 })
			checkTree(t, shorter, reserved)
		}
	})
}

// TestRandomNames puts names together from the pieces that the rules are about.
func TestRandomNames(t *testing.T) {
	pieces := []string{"a", "b", "/", "/", ".", "..", "%", "%2E", "%~", ".npy", "npy", "index.json", "\x00", "\xff", "ü", "q", strings.Repeat("y", 120)}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		set := make(map[string]bool)
		for range r.IntN(20) {
			var name strings.Builder
			for range r.IntN(5) {
				name.WriteString(pieces[r.IntN(len(pieces))])
			}
			set[name.String()] = true
		}
		var names []string
		for name := range set {
			names = append(names, name)
			checkEscape(t, name)
		}
		checkTree(t, names, nil)
		checkTree(t, names, []string{"a", "q", "b%"}[:r.IntN(4)])
		if t.Failed() {
			t.Fatalf("seed %d: %q", seed, names)
		}
	}
}

// TestTreeMemory: a tree of 100,000 tensors is small, since paths are the names.
func TestTreeMemory(t *testing.T) {
	ix := many(100_000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tree := NewTree(ix.Tensors, "other.gguf")
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / float64(len(ix.Tensors))
	t.Logf("%.1f bytes a tensor", each)
	if each > 24 {
		t.Errorf("%.1f bytes a tensor, want 24 at most", each)
	}
	if got := len(tree.List("")); got != 200_000 {
		t.Errorf("%d names are listed", got)
	}
	runtime.KeepAlive(ix)
}

func BenchmarkNewTree(b *testing.B) {
	ix := many(100_000)
	b.ReportAllocs()
	for b.Loop() {
		NewTree(ix.Tensors)
	}
}
