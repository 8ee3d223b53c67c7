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

func TestUnknownIsInternal(t *testing.T) {
	if got := codeOf(os.ErrClosed); got != codes.Internal {
		t.Errorf("an error that nobody knows is %v", got)
	}
}
