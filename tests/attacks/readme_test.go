// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/tests/attacks"
)

var update = flag.Bool("update", false, "write the table of README.md anew")

// about says what each category is.
var about = map[string]string{
	"call":        "PyTorch checkpoints with a sound weight, and a call of something beside it",
	"opcode":      "names and calls that a pickle hides: memo, dots, INST, OBJ, EXT, BUILD, persistent ids",
	"pickle":      "pickles that call nothing: lengths, depth, circles, a stack that is empty",
	"tensor":      "PyTorch tensors whose numbers lie, that hang on calls, or whose names lead elsewhere",
	"carrier":     "the same few payloads in old checkpoints, TorchScript, NPY, NPZ, bare pickles",
	"legacy":      "checkpoints from before PyTorch 1.6",
	"zip":         "members of an archive that lie: headers that differ, checksums, flags, overlaps",
	"directory":   "directories of archives that lie, several archives in a file, ZIP64, names",
	"polyglot":    "archives behind something else",
	"npz":         "archives of arrays, and zip bombs",
	"npy":         "arrays whose header lies, or holds a program",
	"safetensors": "lengths, JSON, shapes, holes, overlaps, names",
	"gguf":        "counts, strings, arrays, alignment, shapes, offsets, names",
	"onnx":        "protobuf's wire format, initializers, graphs",
	"onnx-data":   "data beside the model: paths, numbers, keys",
	"tflite":      "flatbuffers: vtables, offsets, lengths, circles",
	"ggml":        "whisper.cpp's files from before GGUF",
	"other":       "files that are something else than their names say, HDF5, Keras, msgpack",
	"file":        "folders: pipes, sockets, devices, links as weight files",
	"shards":      "folders: lists of shards that lead elsewhere, or are no file",
	"external":    "folders: ONNX's data that are a link, a pipe, a device",
}

// TestReadme: the table in README.md is the one of the collection.
func TestReadme(t *testing.T) {
	var order []string
	counts := map[string]map[attacks.Answer]int{}
	count := func(category string, answer attacks.Answer) {
		if counts[category] == nil {
			order = append(order, category)
			counts[category] = map[attacks.Answer]int{}
		}
		counts[category][answer]++
	}
	files, places := attacks.All(), attacks.Places()
	for i := range files {
		count(files[i].Category(), files[i].Want.Answer)
	}
	for i := range places {
		count(places[i].Category(), places[i].Want.Answer)
	}
	answers := []attacks.Answer{attacks.Refused, attacks.Found, attacks.Flagged, attacks.Read, attacks.Unmade, attacks.Safe, attacks.Hidden}
	var b strings.Builder
	b.WriteString("| category | what |")
	for _, a := range answers {
		fmt.Fprintf(&b, " %s |", a)
	}
	b.WriteString(" all |\n| --- | --- |" + strings.Repeat(" ---: |", len(answers)+1) + "\n")
	row := func(category, what string, counts map[attacks.Answer]int) {
		all := 0
		fmt.Fprintf(&b, "| %s | %s |", category, what)
		for _, a := range answers {
			all += counts[a]
			if counts[a] == 0 {
				b.WriteString(" |")
			} else {
				fmt.Fprintf(&b, " %d |", counts[a])
			}
		}
		fmt.Fprintf(&b, " %d |\n", all)
	}
	total := map[attacks.Answer]int{}
	for _, category := range order {
		if about[category] == "" {
			t.Errorf("the category %s has no description", category)
		}
		row(category, about[category], counts[category])
		for a, n := range counts[category] {
			total[a] += n
		}
	}
	row("all", "", total)
	checkTable(t, b.String())
}

// checkTable compares the part of README.md between the marks.
func checkTable(t *testing.T, table string) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- table: go test ./tests/attacks -update -->\n", "<!-- end -->"
	before, rest, ok := strings.Cut(string(text), begin)
	old, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatal("README.md has no marks around a table")
	}
	if *update {
		if err := os.WriteFile("README.md", []byte(before+begin+table+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != table {
		t.Errorf("the table in README.md is another one (-update writes it):\n%s\nwant\n%s", old, table)
	}
}
