// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func TestResolveReadsWhatAnEarlierProcessGaveOut(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "nodes"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	j, err := newJournal(9, file)
	if err != nil {
		t.Fatal(err)
	}
	type known struct {
		id, gen uint64
		path    string
		parent  uint64
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	nodes := []known{{id: fuse.FUSE_ROOT_ID}}
	leaves := 0
	for i := range 2000 {
		if i > 100 && random.IntN(3) == 0 { // forget a leaf; its place is used again
			k := len(nodes) - 1
			n := nodes[k]
			if n.parent != 0 {
				j.remove(n.id, n.path[strings.LastIndexByte(n.path, '/')+1:])
				nodes = nodes[:k]
				leaves++
				continue
			}
		}
		parent := nodes[random.IntN(min(len(nodes), 20))]
		name := strings.Repeat("é", 1+random.IntN(60))
		path := strings.TrimPrefix(parent.path+"/"+name, "/")
		id, err := j.add(parent.id, uint64(i), false, name)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, known{id, uint64(i), path, parent.id})
	}
	seen := make(map[uint64]bool)
	for _, n := range nodes[1:] {
		path, gen, err := Resolve(file, 9, n.id)
		if err != nil || path != n.path || gen != n.gen {
			t.Fatalf("node %#x: %q %d %v, want %q %d", n.id, path, gen, err, n.path, n.gen)
		}
		if seen[n.id] || n.id == fuse.FUSE_ROOT_ID {
			t.Fatalf("id %#x is given out twice", n.id)
		}
		seen[n.id] = true
	}
	if leaves == 0 {
		t.Error("nothing was forgotten: the test does not show that places are used again")
	}
}

func TestResolveRefusesWhatIsNotThere(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "nodes"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, _, err := Resolve(file, 9, 9<<32|1); !errors.Is(err, ErrJournal) {
		t.Errorf("empty file: %v", err)
	}
	j, err := newJournal(9, file)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := j.add(fuse.FUSE_ROOT_ID, 0, true, "models")
	for _, bad := range []uint64{id + 5, 8<<32 | 1, 0} {
		if _, _, err := Resolve(file, 9, bad); !errors.Is(err, ErrJournal) {
			t.Errorf("id %#x: %v", bad, err)
		}
	}
	loop, _ := j.add(id+2, 0, true, "x") // its own parent: a damaged file must end
	if _, _, err := Resolve(file, 9, loop); err == nil {
		t.Errorf("a loop of %#x resolves", loop)
	}
}

// full refuses writes, as a full tmpfs does.
type full struct{ *os.File }

func (full) WriteAt([]byte, int64) (int, error) { return 0, errors.New("no space") }

func TestAFullJournalStopsNothing(t *testing.T) {
	j, err := newJournal(9, nil)
	if err != nil {
		t.Fatal(err)
	}
	j.file = full{}
	told := 0
	table := newTable(j, &memFolder{}, func(error) { told++ })
	a := table.look(1, "a", &memFile{gen: 1})
	b := table.look(1, "b", &memFile{gen: 1})
	if a.id == b.id || told != 2 {
		t.Errorf("ids %#x and %#x, told %d times", a.id, b.id, told)
	}
}
