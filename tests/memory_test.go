// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// area is what the kernel says of one mapping of a process (smaps); in bytes.
type area struct {
	path string
	kib  map[string]int64
}

func (a area) bytes(field string) int64 { return a.kib[field] << 10 }

// hugeBytes is what of the mapping is mapped by huge pages.
func (a area) hugeBytes() int64 { return a.bytes("FilePmdMapped") + a.bytes("ShmemPmdMapped") }

// compactMemory has the kernel put its free memory together, as far as the tests may:
// huge pages are made of what lies together.
func compactMemory() { _ = os.WriteFile("/proc/sys/vm/compact_memory", []byte("1"), 0) }

var areaStart = regexp.MustCompile(`^([0-9a-f]+)-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)$`)

// areaOf is the area of a reader's mapping.
func areaOf(t testing.TB, r *reader, id int) area {
	t.Helper()
	from, _, err := r.span(id)
	if err != nil {
		t.Fatal(err)
	}
	var found *area
	for line := range strings.Lines(string(must(os.ReadFile(fmt.Sprintf("/proc/%d/smaps", r.pid())))(t))) {
		line = strings.TrimSpace(line)
		if m := areaStart.FindStringSubmatch(line); m != nil {
			if found != nil {
				break
			}
			if start := must(strconv.ParseUint(m[1], 16, 64))(t); start == from {
				found = &area{path: m[2], kib: map[string]int64{}}
			}
			continue
		}
		if fields := strings.Fields(line); found != nil && len(fields) == 3 && fields[2] == "kB" {
			found.kib[strings.TrimSuffix(fields[0], ":")] = must(strconv.ParseInt(fields[1], 10, 64))(t)
		}
	}
	if found == nil {
		t.Fatalf("pid %d has no mapping at %x", r.pid(), from)
	}
	return *found
}

// frames are the numbers of the physical pages at every step of a reader's
// mapping, which must be present.
func frames(t testing.TB, r *reader, id int, step uint64) (numbers []uint64) {
	t.Helper()
	from, to, err := r.span(id)
	if err != nil {
		t.Fatal(err)
	}
	f := must(os.Open(fmt.Sprintf("/proc/%d/pagemap", r.pid())))(t)
	defer f.Close()
	for at := from; at < to; at += step {
		var b [8]byte
		if _, err := f.ReadAt(b[:], int64(at/4096*8)); err != nil {
			t.Fatal(err)
		}
		const present, number = 1 << 63, 1<<55 - 1
		v := binary.LittleEndian.Uint64(b[:])
		if v&present == 0 || v&number == 0 {
			t.Fatalf("pid %d: the page at %x is not present, or hidden (%x)", r.pid(), at, v)
		}
		numbers = append(numbers, v&number)
	}
	return numbers
}
