// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
)

// TestEveryErrorHasACode: an error that a part exports and that is missing in the table
// would be INTERNAL to callers.
func TestEveryErrorHasACode(t *testing.T) {
	table, err := os.ReadFile("status.go")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := map[string]string{
		"arena.ErrNoRoom": "within ErrRoom",
	}
	for _, dir := range []string{".", "arena", "batch", "call", "caller", "handler", "reference"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				for _, s := range g.Specs {
					for _, name := range s.(*ast.ValueSpec).Names {
						word := name.Name
						if dir != "." {
							word = dir + "." + word
						}
						if !strings.HasPrefix(name.Name, "Err") || elsewhere[word] != "" {
							continue
						}
						if !regexp.MustCompile(`\{` + regexp.QuoteMeta(word) + `, codes\.`).Match(table) {
							t.Errorf("%s: %s has no code in codeTable", file, word)
						}
					}
				}
			}
		}
	}
}

// TestCodesAreDocumented: the document's table has the codes of codeTable, and no others but
// those that a handler's own errors, or gRPC, give.
func TestCodesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/inference.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|").FindAllSubmatch(text, -1) {
		documented[string(row[1])] = true
	}
	used := map[string]bool{}
	for _, row := range codeTable {
		used[protocolName(row.code)] = true
	}
	for name := range used {
		if !documented[name] {
			t.Errorf("%s is not in the table of docs/inference.md", name)
		}
	}
	for name := range documented {
		if !used[name] {
			t.Errorf("%s is in the table of docs/inference.md, and no error has it", name)
		}
	}
}

// protocolName is a code's name in gRPC's documents, and in Python.
func protocolName(c codes.Code) string {
	if c == codes.Canceled {
		return "CANCELLED"
	}
	return strings.ToUpper(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(c.String(), "${1}_$2"))
}

func TestUnknownIsInternal(t *testing.T) {
	if got := codeOf(os.ErrClosed); got != codes.Internal {
		t.Errorf("an error that nobody knows is %v", got)
	}
}
