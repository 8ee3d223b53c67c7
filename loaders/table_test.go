// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package loaders

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of formats in README.md and docs/formats.md")

// TestTables: the documents say what the code says.
func TestTables(t *testing.T) {
	for name, table := range map[string]string{"../README.md": ShortTable(), "../docs/formats.md": Table()} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		const begin, end = "<!-- formats: written by make golden -->\n\n", "\n<!-- end of formats -->"
		before, rest, ok := strings.Cut(string(b), begin)
		has, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 || strings.Contains(after, begin) {
			t.Errorf("%s has no place for the table, or two", name)
			continue
		}
		if *update && has != table {
			if err := os.WriteFile(name, []byte(before+begin+table+end+after), 0o644); err != nil {
				t.Fatal(err)
			}
			has = table
		}
		if has != table {
			t.Errorf("%s has another table than the code (go test -update writes it); it has:\n%swant:\n%s", name, has, table)
		}
	}
}

// TestFacts: a format that is read says how; one that is not says what to do.
func TestFacts(t *testing.T) {
	for _, f := range Formats() {
		read := f.Parse != nil
		if read != (f.Facts.Versions != "") || read != (f.Facts.InPlace != "") || read != (f.Instead == "") || f.Facts.Refused == "" {
			t.Errorf("%s: %+v, instead %q", f.Name, f.Facts, f.Instead)
		}
		for _, text := range []string{f.Facts.Versions, f.Facts.InPlace, f.Facts.Made, f.Facts.Refused} {
			if strings.ContainsAny(text, "\n<>") || strings.HasSuffix(text, ".") || strings.Count(text, "`")%2 != 0 {
				t.Errorf("%s: %q does not fit a table", f.Name, text)
			}
		}
	}
}

func TestMarkdown(t *testing.T) {
	want := "| a | b |\n| --- | --- |\n| - | x\\|y |\n"
	if got := markdown([][]string{{"a", "b"}, {"", "x|y"}}); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
