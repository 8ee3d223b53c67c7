// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/modelfs/modelfs/loaders"
	"github.com/modelfs/modelfs/tensors"
	"github.com/modelfs/modelfs/tests/attacks"
)

// What one parse may take: the time, and the memory above what the index holds.
const (
	maxTime   = 2 * time.Second
	maxMemory = 64 << 20
	// hangs is when a test gives up on a parser.
	hangs = 30 * time.Second
)

// maxMade is how many tensors of a file are made.
const maxMade = 4

// atLeast is how many attacks there must be.
const atLeast = 150

// gaps are attacks that get another answer than they must, and why. An attack that
// gets the right one must be taken off.
var gaps = map[string]string{}

// never are formats that are refused for good: whatever their files hold, the
// answer is an error.
var never = []string{"Keras", "Flax"}

// read says whether files of a name are looked into, or refused for good.
func read(file string) bool {
	f, ok := loaders.Of(file)
	return ok && (f.Parse != nil || slices.Contains(never, f.Name))
}

// outcome is what became of a file.
type outcome struct {
	index     *tensors.Index
	err       error
	panicked  any
	took      time.Duration
	allocated uint64
}

// parse reads a file as the program does, and measures it.
func parse(t *testing.T, a *attacks.Attack) outcome {
	t.Helper()
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			o.panicked = recover()
			done <- o
		}()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		o.index, o.err = loaders.Parse(a.File, a, a.Length())
		o.took = time.Since(start)
		runtime.ReadMemStats(&after)
		o.allocated = after.TotalAlloc - before.TotalAlloc
	}()
	select {
	case o := <-done:
		return o
	case <-time.After(hangs):
		t.Fatalf("%s: the parser still runs after %s", a.Name, hangs)
	}
	return outcome{}
}

// TestAttacks gives every file to the loaders. Each gets its answer, within the
// limits; nothing executes.
// The controls: the sound twins are read (TestSound), and the payloads do fire in
// Python (TestPayloadsFire).
func TestAttacks(t *testing.T) {
	c := newCanary(t)
	tried, skipped := 0, map[string]int{}
	var slowest, greediest cost
	for _, a := range attacks.All() {
		if !read(a.File) {
			skipped[filepath.Ext(a.File)]++
			continue
		}
		tried++
		t.Run(a.Name, func(t *testing.T) {
			o := judge(t, &a)
			slowest.max(a.Name, int64(o.took))
			greediest.max(a.Name, int64(o.allocated-held(o.index)))
		})
		c.check(t, a.Name)
	}
	t.Logf("the slowest is %s with %s, the greediest %s with %.1f MiB", slowest.name, time.Duration(slowest.n), greediest.name, float64(greediest.n)/(1<<20))
	if len(skipped) > 0 {
		t.Logf("%d files were tried; of formats without a parser, and left out: %v", tried, skipped)
	}
	if tried < atLeast {
		t.Errorf("%d files were tried, want at least %d", tried, atLeast)
	}
}

// cost is the highest of what files cost.
type cost struct {
	name string
	n    int64
}

func (c *cost) max(name string, n int64) {
	if n > c.n {
		c.name, c.n = name, n
	}
}

// TestSound: what the attacks are made from is read without a finding.
func TestSound(t *testing.T) {
	for _, a := range attacks.Sound() {
		if !read(a.File) {
			t.Logf("%s: there is no parser", a.Name)
			continue
		}
		judge(t, &a)
		if o := parse(t, &a); a.Want.Answer == attacks.Read && gaps[a.Name] == "" && o.err == nil && len(o.index.Findings) > 0 {
			t.Errorf("%s is sound, and there are findings: %v", a.Name, o.index.Findings)
		}
	}
}

// judge checks the answer to one file, and what it cost.
func judge(t *testing.T, a *attacks.Attack) outcome {
	t.Helper()
	o := parse(t, a)
	if slow, greedy := o.took > maxTime, o.allocated > maxMemory+held(o.index); slow || greedy {
		// Others run on this machine too, though not every time.
		again := parse(t, a)
		if slow && again.took > maxTime {
			t.Errorf("%s took %s, then %s", a.Name, o.took, again.took)
		}
		if greedy && again.allocated > maxMemory+held(again.index) {
			t.Errorf("%s made the parser allocate %d MiB, for an index of %d kB", a.Name, o.allocated>>20, held(o.index)>>10)
		}
	}
	if o.panicked != nil {
		t.Errorf("%s: panic: %v", a.Name, o.panicked)
		return o
	}
	if o.err == nil {
		sound(t, a, o.index)
	}
	wrong := answer(t, a, o)
	switch gap := gaps[a.Name]; {
	case wrong != "" && gap == "":
		t.Errorf("%s (%s): %s", a.Name, a.Imitates, wrong)
	case wrong == "" && gap != "":
		t.Errorf("%s gets its answer: take it off the list of gaps", a.Name)
	}
	return o
}

// held is roughly what an index holds in memory, twice: slices are copied when
// they grow.
func held(ix *tensors.Index) uint64 {
	if ix == nil {
		return 0
	}
	n := 0
	for i := range ix.Tensors {
		x := &ix.Tensors[i]
		n += int(unsafe.Sizeof(*x)) + len(x.Name) + 8*len(x.Shape) + 8*len(x.Strides)
	}
	for i := range ix.Findings {
		n += int(unsafe.Sizeof(ix.Findings[i])) + len(ix.Findings[i].Text)
	}
	return 2 * uint64(n)
}

// answer says what is wrong with the answer to a file; nothing if it is right.
func answer(t *testing.T, a *attacks.Attack, o outcome) string {
	t.Helper()
	var w *loaders.FormatError
	if o.err != nil && !errors.As(o.err, &w) && !errors.Is(o.err, loaders.ErrUnsupported) {
		return fmt.Sprintf("the error is none of the content: %v", o.err)
	}
	refused := o.err != nil && says(o.err.Error(), a.Want.Says)
	found := o.err == nil && slices.ContainsFunc(o.index.Findings, func(f tensors.Finding) bool { return says(f.Text, a.Want.Says) })
	got := fmt.Sprintf("the error %v", o.err)
	if o.err == nil {
		got = fmt.Sprintf("%d tensors (%s) and the findings %s", len(o.index.Tensors), short("%q", names(o.index)), short("%v", o.index.Findings))
	}
	right := true
	switch a.Want.Answer {
	case attacks.Refused:
		right = refused
	case attacks.Found:
		right = found && named(o.index, a.Want.Tensors)
	case attacks.Flagged:
		right = refused || found
	case attacks.Read:
		right = o.err == nil && named(o.index, a.Want.Tensors)
	case attacks.Unmade:
		right = o.err != nil || unmade(t, a, o.index)
	case attacks.Safe:
	default:
		return "it wants an answer that nobody knows: " + string(a.Want.Answer)
	}
	if right {
		return ""
	}
	return fmt.Sprintf("it gives %s, want %s", got, short("%+v", a.Want))
}

// short formats a value for a message.
func short(format string, v any) string { return fmt.Sprintf("%.300s", fmt.Sprintf(format, v)) }

func says(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}

func names(ix *tensors.Index) []string {
	var all []string
	for i := range ix.Tensors {
		all = append(all, ix.Tensors[i].Name)
	}
	slices.Sort(all)
	return all
}

func named(ix *tensors.Index, want []string) bool {
	return slices.Equal(names(ix), slices.Sorted(slices.Values(want)))
}

// unmade says whether some tensor is listed, and its bytes are not made.
func unmade(t *testing.T, a *attacks.Attack, ix *tensors.Index) bool {
	t.Helper()
	return slices.ContainsFunc(ix.Tensors, func(x tensors.Tensor) bool { return makeBytes(t, a, &x) != nil })
}

// makeBytes makes a tensor's bytes where that has to be done, within the limits of
// a parse.
func makeBytes(t *testing.T, a *attacks.Attack, x *tensors.Tensor) error {
	t.Helper()
	if x.Maker == nil || x.File != a.File || x.NBytes > 256<<20 {
		return nil
	}
	dst := make([]byte, x.NBytes)
	for last := false; ; last = true { // a busy machine is not the maker's fault
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		err := x.Maker.Make(t.Context(), a, dst)
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		n := after.TotalAlloc - before.TotalAlloc
		if n <= maxMemory && took <= maxTime {
			return err
		}
		if last {
			t.Errorf("%s: to make %.100q of %d bytes takes %s and %d MiB", a.Name, x.Name, x.NBytes, took, n>>20)
			return err
		}
	}
}

// sound checks what holds for every index that a loader gives, whatever the file.
func sound(t *testing.T, a *attacks.Attack, ix *tensors.Index) {
	t.Helper()
	tree := tensors.NewTree(ix.Tensors)
	seen := make(map[string]bool, len(ix.Tensors))
	for i := range ix.Tensors {
		x := &ix.Tensors[i]
		if seen[x.Name] {
			t.Errorf("%s: the tensor %.100q is there twice", a.Name, x.Name)
		}
		seen[x.Name] = true
		for _, p := range []string{tensors.EscapePath(x.Name), tree.Path(i)} {
			if !plain(p) {
				t.Errorf("%s: the tensor %.100q has the path %.100q", a.Name, x.Name, p)
			}
		}
		if err := lies(a, x); err != nil {
			t.Errorf("%s: the tensor %.100q: %v", a.Name, x.Name, err)
		}
		if i < maxMade {
			_ = makeBytes(t, a, x) // whatever it says, it ends in time and takes little
		}
	}
	for _, f := range ix.Findings {
		if f.Offset < 0 || f.Offset > a.Length() || f.Text == "" || len(f.Text) > 2<<10 || f.File != a.File {
			t.Errorf("%s: a finding of %s about byte %d of %d: %.100q", a.Name, f.File, f.Offset, a.Length(), f.Text)
		}
	}
}

// plain says whether a path stays where it belongs, and is one that a filesystem
// takes.
func plain(p string) bool {
	if !utf8.ValidString(p) || strings.ContainsRune(p, 0) {
		return false
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." || len(part) > 255 {
			return false
		}
	}
	return true
}

// lies checks that a tensor's bytes lie in the file, or in one below its folder.
func lies(a *attacks.Attack, x *tensors.Tensor) error {
	if want, err := x.DType.NBytes(x.Shape); err != nil {
		return err
	} else if want != x.NBytes {
		return fmt.Errorf("%s%v has %d bytes, want %d", x.DType, x.Shape, x.NBytes, want)
	}
	if x.Strides != nil && len(x.Strides) != len(x.Shape) {
		return fmt.Errorf("strides %v for the shape %v", x.Strides, x.Shape)
	}
	if x.File != a.File {
		if !filepath.IsLocal(x.File) || strings.ContainsAny(x.File, "\x00\\") || filepath.Ext(a.File) != ".onnx" {
			return fmt.Errorf("it lies in %q", x.File)
		}
		return nil
	}
	if x.Maker != nil {
		return nil
	}
	end := x.Offset + x.NBytes
	if x.Strides != nil && x.NBytes > 0 {
		last := int64(0)
		for i, n := range x.Shape {
			if x.Strides[i] < 0 {
				return fmt.Errorf("strides %v", x.Strides)
			}
			last += (n - 1) * x.Strides[i]
		}
		width, err := x.DType.NBytes([]int64{last + 1})
		if err != nil {
			return err
		}
		end = x.Offset + width
	}
	if x.Offset < 0 || end < x.Offset || end > a.Length() {
		return fmt.Errorf("it lies in bytes %d to %d of %d", x.Offset, end, a.Length())
	}
	return nil
}

// TestCollection: names and files are unique, every answer can be wrong, and the
// same bytes come out every time.
func TestCollection(t *testing.T) {
	all, again := attacks.All(), attacks.All()
	if len(all) < atLeast {
		t.Errorf("there are %d attacks, want at least %d", len(all), atLeast)
	}
	seen, strict := map[string]bool{}, 0
	for i := range all {
		a := &all[i]
		file := a.Category() + "/" + a.File
		if seen[a.Name] || seen["file "+file] || a.Imitates == "" || !plain(file) || !strings.Contains(a.Name, "/") {
			t.Errorf("%s (%s) is there twice, or says not what it is", a.Name, a.File)
		}
		seen[a.Name], seen["file "+file] = true, true
		if a.Want.Answer != attacks.Safe {
			strict++
		}
		if b := &again[i]; a.Name != b.Name || !bytes.Equal(a.Head, b.Head) || !bytes.Equal(a.Tail, b.Tail) || a.Size != b.Size {
			t.Errorf("%s is another file the second time", a.Name)
		}
	}
	if strict < atLeast {
		t.Errorf("%d attacks want a certain answer, want at least %d", strict, atLeast)
	}
	for name := range gaps {
		if !seen[name] && !strings.HasPrefix(name, "sound/") {
			t.Errorf("there is a gap for %s, and no such attack", name)
		}
	}
}

func TestContent(t *testing.T) {
	c := attacks.Content{Head: []byte("head"), Tail: []byte("tail"), Size: 12}
	for off := range int64(13) {
		got, err := io.ReadAll(io.NewSectionReader(&c, off, 99))
		if want := "head\x00\x00\x00\x00tail"[off:]; err != nil || string(got) != want {
			t.Errorf("from %d on: %q (%v), want %q", off, got, err, want)
		}
	}
	dir := t.TempDir()
	if err := attacks.Write(dir); err != nil {
		t.Fatal(err)
	}
	for _, a := range attacks.All() {
		st, err := os.Stat(filepath.Join(dir, a.Category(), a.File))
		if err != nil || st.Size() != a.Length() {
			t.Errorf("%s: %v, want %d bytes", a.Name, err, a.Length())
		}
	}
}
