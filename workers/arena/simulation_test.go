// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package arena

import (
	"math/rand/v2"
	"testing"
	"time"
)

// twin is an arena that marks every cache line.
type twin struct {
	files [][]bool // taken lines, in the order of the files
}

// take is the first place where all lines are free: which file, and where.
func (w *twin) take(bytes int64) (file int, offset int64) {
	lines, step := int(max(bytes, 1)+lineSize-1)/lineSize, int(alignment(bytes)/lineSize)
	for file, taken := range w.files {
	next:
		for at := 0; at+lines <= len(taken); at += step {
			for i := range lines {
				if taken[at+i] {
					continue next
				}
			}
			for i := range lines {
				taken[at+i] = true
			}
			return file, int64(at * lineSize)
		}
	}
	size := max(128<<10, (bytes+4095)/4096*4096)
	w.files = append(w.files, make([]bool, size/lineSize))
	return w.take(bytes)
}

func (w *twin) give(file int, offset, bytes int64) {
	for i := range int(max(bytes, 1)+lineSize-1) / lineSize {
		w.files[file][int(offset)/lineSize+i] = false
	}
}

// TestSimulation does the same to an arena and to its twin: every region lies where
// the twin says, so none overlaps another.
func TestSimulation(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	a, w := newArena(t, 128<<10), &twin{}
	type held struct {
		*Region
		file int
	}
	var regions []held
	files := map[int]uint64{} // of the twin's: its key
	free := func(i int) {
		h := regions[i]
		h.Free()
		w.give(h.file, h.Offset, h.Region.Bytes)
		regions[i] = regions[len(regions)-1]
		regions = regions[:len(regions)-1]
	}
	for step := range 20_000 {
		// Waves: it fills for a while, and empties for a while.
		if filling := step/1000%2 == 0; len(regions) > 0 && random.IntN(10) < map[bool]int{true: 4, false: 6}[filling] {
			free(random.IntN(len(regions)))
			continue
		}
		var bytes int64
		switch random.IntN(20) {
		case 0:
			bytes = random.Int64N(300_000) // also larger than a file
		case 1, 2, 3:
			bytes = random.Int64N(20_000)
		default:
			bytes = random.Int64N(1000)
		}
		r := take(t, a, bytes)
		file, offset := w.take(bytes)
		if key, ok := files[file]; r.Offset != offset || ok && r.File.Key != key || r.File.Size != int64(len(w.files[file])*lineSize) {
			t.Fatalf("step %d: %d bytes lie at %d of file %d, the twin says %d of %d", step, bytes, r.Offset, r.File.Key, offset, key)
		}
		files[file] = r.File.Key
		regions = append(regions, held{r, file})
	}
	if len(files) < 2 {
		t.Error("the simulation never needed a second file")
	}
	for len(regions) > 0 {
		free(random.IntN(len(regions)))
	}
	whole(t, a)
}
