// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package catalog_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/loaders"
	"github.com/modelfs/modelfs/sources"
)

// TestIndex: the tensors of every format, and where they lie.
func TestIndex(t *testing.T) {
	for file, content := range map[string][]byte{
		"w.safetensors": safetensors("a", "b"), "w.gguf": gguf("a", "b"), "w.npz": npz(t, "a", "b"), "sub/W.SafeTensors": safetensors("a", "b"),
	} {
		p := newPlace(t)
		p.write("m/"+file, content)
		p.files("m/config.json")
		m := p.model()
		ix := index(t, m, "")
		if ix.Err != nil {
			t.Errorf("%s: %v", file, ix.Err)
			continue
		}
		same(t, file, tensors(ix), []string{"a", "b"})
		same(t, "paths in "+file, shown(ix), []string{"a", "b"})
		end := int64(0)
		for _, x := range ix.Index.Tensors {
			if x.File != file || x.NBytes != tensorBytes || x.Offset < end || x.Offset+x.NBytes > int64(len(content)) || !slices.Equal(x.Shape, []int64{4}) {
				t.Errorf("%s: %+v", file, x)
			}
			end = x.Offset + x.NBytes
		}
		g, err := m.Generation(t.Context(), file)
		if err != nil || ix.Generation != g.String() || ix.Hash() != g.Hash() || len(ix.Files) != 1 || ix.Files[file] != g {
			t.Errorf("%s has the generation %v, its index %s of %v", file, g, ix.Generation, ix.Files)
		}
	}
}

func TestIndexShards(t *testing.T) {
	p := newPlace(t)
	p.write("m/one.safetensors", safetensors("b", "a"))
	p.write("m/two.safetensors", safetensors("c"))
	p.list("m/model.safetensors.index.json", map[string]string{"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"})
	ix := index(t, p.model(), "")
	if ix.Err != nil || len(ix.Files) != 2 {
		t.Fatalf("files %v, error %v", ix.Files, ix.Err)
	}
	files := make(map[string]string)
	for _, x := range ix.Index.Tensors {
		files[x.Name] = x.File
	}
	if len(files) != 3 || files["a"] != "one.safetensors" || files["b"] != "one.safetensors" || files["c"] != "two.safetensors" {
		t.Errorf("the tensors lie in %v", files)
	}
}

// Two shards with one tensor cannot be one checkpoint.
func TestIndexShardsTwice(t *testing.T) {
	p := newPlace(t)
	p.write("m/w-00001-of-00002.safetensors", safetensors("only", "both"))
	p.write("m/w-00002-of-00002.safetensors", safetensors("both"))
	ix := index(t, p.model(), "")
	saysAll(t, ix.Err, `"both"`, "w-00001-of-00002.safetensors", "w-00002-of-00002.safetensors")
	same(t, "tensors", tensors(ix), []string{})
}

// Every change of any shard is another generation.
func TestIndexShardsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.write("m/w-00001-of-00002.safetensors", safetensors("a"))
		p.write("m/w-00002-of-00002.safetensors", safetensors("b"))
		m := p.model()
		seen := map[string]bool{index(t, m, "").Generation: true}
		for i, file := range []string{"m/w-00001-of-00002.safetensors", "m/w-00002-of-00002.safetensors"} {
			p.replace(file, safetensors(fmt.Sprint("new", i)))
			time.Sleep(time.Second)
			ix := index(t, m, "")
			if ix.Err != nil || seen[ix.Generation] || !slices.Contains(tensors(ix), fmt.Sprint("new", i)) {
				t.Errorf("%s is replaced: tensors %q, generation %s, error %v", file, tensors(ix), ix.Generation, ix.Err)
			}
			seen[ix.Generation] = true
		}
	})
}

// TestIndexLazily: finding models and checkpoints reads no header. The control:
// the index does.
func TestIndexLazily(t *testing.T) {
	p := newPlace(t)
	p.files("m/w.safetensors", "m/x.gguf", "loose.npz")
	for _, file := range []string{"m/w.safetensors", "m/x.gguf", "loose.npz"} {
		p.unread(file)
	}
	c, _ := p.catalog("")
	for _, m := range c.Models(t.Context()) {
		for _, cp := range checkpoints(t, m).All {
			cp.Bytes(t.Context())
			_, err := cp.Stat(t.Context())
			p.check(err)
		}
		_, err := m.List(t.Context(), "")
		p.check(err)
		_ = m.LastIndexError()
	}
	c.Children(t.Context(), "")
	for _, file := range []string{"m/w.safetensors", "m/x.gguf", "loose.npz"} {
		if p.wasRead(file) {
			t.Errorf("%s was read", file)
		}
	}
	index(t, lookup(t, c, "m"), "x.gguf")
	if !p.wasRead("m/x.gguf") {
		t.Skip("this filesystem notes no reads: set TMPDIR")
	}
	if p.wasRead("m/w.safetensors") {
		t.Error("the index of one checkpoint has read the other")
	}
}

// manyTensors is a file whose index is too large to be kept for good.
func manyTensors() []byte {
	names := make([]string, 20_001)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	return safetensors(names...)
}

// TestIndexKept: an index is read once for all who use it, and a large one again after
// nobody has used any for ten seconds; OnIdle is told then, once.
func TestIndexKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.write("m/w.safetensors", manyTensors())
		p.files("n/w.safetensors")
		c, _ := p.catalog("")
		var idle atomic.Int64
		c.OnIdle(func() { idle.Add(1) })
		m := lookup(t, c, "m")
		time.Sleep(time.Minute)
		synctest.Wait()
		if idle.Load() != 0 {
			t.Errorf("nobody has used an index, and OnIdle was told %d times", idle.Load())
		}
		first := index(t, m, "")
		for _, pause := range []time.Duration{0, 100 * time.Millisecond, time.Second, 9900 * time.Millisecond, 9900 * time.Millisecond} {
			time.Sleep(pause)
			if index(t, m, "") != first {
				t.Errorf("%v later it is another one", pause)
			}
		}
		for range 3 { // another model's use counts as well
			time.Sleep(6 * time.Second)
			index(t, lookup(t, c, "n"), "")
		}
		if index(t, m, "") != first || idle.Load() != 0 {
			t.Errorf("while an index is used it is another one, or OnIdle was told (%d times)", idle.Load())
		}
		time.Sleep(9900 * time.Millisecond)
		synctest.Wait()
		if idle.Load() != 0 {
			t.Error("OnIdle was told before ten seconds")
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if idle.Load() != 1 {
			t.Errorf("after ten seconds OnIdle was told %d times", idle.Load())
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if idle.Load() != 1 {
			t.Errorf("after an hour OnIdle was told %d times", idle.Load())
		}
		again := index(t, m, "")
		if again == first || again.Generation != first.Generation || again.Hash() != first.Hash() {
			t.Errorf("after an hour: the same value %v, generations %s and %s", again == first, first.Generation, again.Generation)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if idle.Load() != 2 {
			t.Errorf("idle once more, OnIdle was told %d times", idle.Load())
		}
	})
}

// TestIndexGone: of a large index that nobody has used for long nothing is left.
// The control: before that it is there.
func TestIndexGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.write("m/w.safetensors", manyTensors())
		c, _ := p.catalog("")
		m := lookup(t, c, "m")
		ix := weak.Make(index(t, m, ""))
		if runtime.GC(); ix.Value() == nil {
			t.Error("the index is gone at once")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if runtime.GC(); ix.Value() != nil {
			t.Error("the index is still in memory")
		}
		runtime.KeepAlive(c)
	})
}

// TestSmallIndexKept: small ones stay, and nobody is told.
func TestSmallIndexKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.files("m/w.safetensors")
		c, _ := p.catalog("")
		c.OnIdle(func() { t.Error("OnIdle was told") })
		m := lookup(t, c, "m")
		first := index(t, m, "")
		time.Sleep(time.Hour)
		synctest.Wait()
		if index(t, m, "") != first {
			t.Error("an hour later it is another one")
		}
		p.replace("m/w.safetensors", safetensors("other"))
		time.Sleep(time.Second)
		if index(t, m, "") == first {
			t.Error("another file has the same index")
		}
	})
}

// Without OnIdle large indexes go all the same.
func TestIndexIdleUnheard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.write("m/w.safetensors", manyTensors())
		m := p.model()
		first := index(t, m, "")
		time.Sleep(time.Minute)
		if index(t, m, "") == first {
			t.Error("an index nobody used was kept for a minute")
		}
	})
}

// Many who ask at once get one index.
func TestIndexOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		many := make([]string, 20_000)
		for i := range many {
			many[i] = fmt.Sprint("tensor", i)
		}
		p.write("m/w.safetensors", safetensors(many...))
		cp := checkpoint(t, p.model(), "")
		got := make([]*catalog.Indexed, 50)
		var all sync.WaitGroup
		for i := range got {
			all.Go(func() { got[i], _ = cp.Index(t.Context()) })
		}
		all.Wait()
		for _, ix := range got {
			if ix == nil || ix != got[0] {
				t.Fatalf("one got %p, another %p", got[0], ix)
			}
		}
	})
}

// TestIndexReplaced: another file is another index; who has the old one keeps it.
func TestIndexReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.write("m/w.safetensors", safetensors("old"))
		m := p.model()
		before := index(t, m, "")
		p.replace("m/w.safetensors", safetensors("new"))
		time.Sleep(time.Second)
		after := index(t, m, "")
		same(t, "tensors", tensors(after), []string{"new"})
		same(t, "tensors of the old index", tensors(before), []string{"old"})
		if before.Generation == after.Generation || before.Hash() == after.Hash() {
			t.Errorf("both are of the generation %s", after.Generation)
		}
		p.remove("m/w.safetensors")
		cp := checkpoint(t, m, "") // known for a second
		time.Sleep(time.Second)
		if ix, err := cp.Index(t.Context()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without the file: %v, error %v", ix, err)
		}
		p.write("m/w.safetensors", safetensors("back"))
		time.Sleep(time.Second)
		same(t, "tensors of the file that is back", tensors(index(t, m, "")), []string{"back"})
	})
}

// TestIndexTouched: another mtime is another generation, also of the same bytes.
func TestIndexTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.files("m/w.gguf")
		m := p.model()
		before := index(t, m, "")
		p.check(os.Chtimes(p.path("m/w.gguf"), time.Time{}, time.Unix(1e9, 0)))
		time.Sleep(time.Second)
		if after := index(t, m, ""); after == before || after.Generation == before.Generation {
			t.Errorf("both are of the generation %s", after.Generation)
		}
	})
}

// TestIndexMalformed: what is wrong with a file is the index's error, which names
// the file; the model's last error follows, and ends with a file that is right.
func TestIndexMalformed(t *testing.T) {
	whole := safetensors("a", "b")
	for _, c := range []struct {
		name, file string
		content    []byte
		says       []string
	}{
		{"empty", "w.safetensors", nil, []string{"w.safetensors", "safetensors"}},
		{"short", "w.safetensors", whole[:len(whole)-1], []string{"w.safetensors"}},
		{"cut in the header", "w.safetensors", whole[:20], []string{"w.safetensors"}},
		{"no JSON", "w.safetensors", append([]byte{4, 0, 0, 0, 0, 0, 0, 0}, "oops"...), []string{"w.safetensors"}},
		{"another format", "w.gguf", whole, []string{"w.gguf", "GGUF"}},
		{"no archive", "w.npz", []byte("PK nothing"), []string{"w.npz", "NPZ"}},
		{"in a folder", "sub/w.gguf", []byte("GG"), []string{"sub/w.gguf"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlace(t)
				p.files("m/config.json")
				p.write("m/"+c.file, c.content)
				m := p.model()
				checkpoints(t, m)
				if err := m.LastIndexError(); err != nil {
					t.Errorf("before anybody has read it: %v", err)
				}
				ix := index(t, m, "")
				var format *loaders.FormatError
				saysAll(t, ix.Err, c.says...)
				if !errors.As(ix.Err, &format) || m.LastIndexError() != ix.Err || len(ix.Index.Tensors) != 0 || ix.Tree == nil || ix.Hash() == 0 {
					t.Errorf("%+v, last error %v", ix, m.LastIndexError())
				}
				time.Sleep(time.Second)
				if index(t, m, "") != ix {
					t.Error("what is wrong is read again and again")
				}
				p.files("m/" + c.file)
				time.Sleep(time.Second)
				if ix := index(t, m, ""); ix.Err != nil || len(ix.Index.Tensors) != 1 || m.LastIndexError() != nil {
					t.Errorf("repaired: %v, %d tensors, last error %v", ix.Err, len(ix.Index.Tensors), m.LastIndexError())
				}
			})
		})
	}
}

// One wrong shard is the whole checkpoint's error.
func TestIndexMalformedShard(t *testing.T) {
	p := newPlace(t)
	p.files("m/w-00001-of-00002.safetensors", "m/other.gguf")
	p.write("m/w-00002-of-00002.safetensors", []byte("no"))
	m := p.model()
	ix := index(t, m, "")
	saysAll(t, ix.Err, "w-00002-of-00002.safetensors")
	same(t, "tensors", tensors(ix), []string{})
	if ix := index(t, m, "other.gguf"); ix.Err != nil || len(ix.Index.Tensors) != 1 {
		t.Errorf("the other checkpoint: %v", ix.Err)
	}
	saysAll(t, m.LastIndexError(), "w-00002-of-00002.safetensors")
}

// The error of another checkpoint is not the model's.
func TestIndexMalformedOther(t *testing.T) {
	p := newPlace(t)
	p.files("m/w.safetensors")
	p.write("m/other.gguf", []byte("no"))
	m := p.model()
	if ix := index(t, m, "other.gguf"); ix.Err == nil || m.LastIndexError() != nil {
		t.Errorf("the other checkpoint: %v, the model: %v", ix.Err, m.LastIndexError())
	}
}

func TestIndexUnsupported(t *testing.T) {
	p := newPlace(t)
	p.files("m/flax_model.msgpack")
	m := p.model()
	ix := index(t, m, "")
	if !errors.Is(ix.Err, loaders.ErrUnsupported) || len(ix.Index.Tensors) != 0 {
		t.Errorf("%+v", ix)
	}
	saysAll(t, ix.Err, "flax_model.msgpack", "Flax", "models/")
}

// TestIndexReserved: a tensor of the primary checkpoint does not take the name of
// another checkpoint's folder.
func TestIndexReserved(t *testing.T) {
	p := newPlace(t)
	p.write("m/w.safetensors", safetensors("x.gguf", "y.gguf", "sub/a", "w.safetensors"))
	p.write("m/x.gguf", gguf("x.gguf", "sub/a"))
	p.files("m/sub/deep.gguf")
	m := p.model()
	same(t, "the primary one", shown(index(t, m, "")), []string{"x.gguf%", "y.gguf", "sub%/a", "w.safetensors"})
	same(t, "the other one", shown(index(t, m, "x.gguf")), []string{"x.gguf", "sub/a"})
}

// TestIndexChanging reads indexes of a file that is replaced without rest: each is
// one file's, whole, or the error says that it was replaced.
func TestIndexChanging(t *testing.T) {
	p := newPlace(t)
	contents := [][]byte{safetensors("a"), safetensors("b", "b2"), safetensors("c", "c2", "c3")}
	p.write("m/w.safetensors", contents[0])
	m := p.model()
	cp := checkpoint(t, m, "")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				if err := errors.Join(os.WriteFile(p.path("next"), contents[i%3], 0o644), os.Rename(p.path("next"), p.path("m/w.safetensors"))); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	replaced := 0
	seen := make(map[string]*catalog.Indexed) // by generation
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end) && (len(seen) < 3 || replaced == 0); {
		ix, err := cp.Index(t.Context())
		if errors.Is(err, sources.ErrReplaced) {
			replaced++
			continue
		}
		if err != nil || ix.Err != nil {
			t.Fatalf("error %v, or %v", err, ix.Err)
		}
		if n := len(ix.Index.Tensors); n < 1 || n > 3 || ix.Files["w.safetensors"].Size != int64(len(contents[n-1])) {
			t.Fatalf("%d tensors of %+v", n, ix.Files)
		}
		if other := seen[ix.Generation]; other != nil && other != ix {
			t.Fatalf("two indexes of the generation %s", ix.Generation)
		}
		seen[ix.Generation] = ix
	}
	close(stop)
	<-stopped
	t.Logf("%d indexes, replaced meanwhile %d times", len(seen), replaced)
	if len(seen) < 2 {
		t.Errorf("%d indexes: the race was not run", len(seen))
	}
}
