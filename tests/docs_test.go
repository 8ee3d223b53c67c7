// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What the documents name exists: each path, link, flag, command, environment
// variable and make target. Looked at are code spans and code blocks, in every
// .md file of the repository; a name in prose is only prose.

// TestDocumentLinks: a link to a file, and to a heading of it, leads there.
func TestDocumentLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^()\s]+)\)`)
	for _, d := range documents(t) {
		for i, line := range d.prose {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				file, heading, _ := strings.Cut(m[1], "#")
				if strings.Contains(file, ":") {
					continue // of the web
				}
				target := path.Join(path.Dir(d.name), file)
				if file == "" {
					target = d.name
				}
				if !exists(target) {
					t.Errorf("%s:%d links to %s: no such file", d.name, i+1, m[1])
				} else if heading != "" && !slices.Contains(headings(t, target), heading) {
					t.Errorf("%s:%d links to %s: no such heading", d.name, i+1, m[1])
				}
			}
		}
	}
}

// TestDocumentPaths: a path that begins with something in the repository's top
// folder, or with what git tracks beside it, is in the repository.
func TestDocumentPaths(t *testing.T) {
	for _, d := range documents(t) {
		for _, c := range d.code {
			for _, word := range strings.FieldsFunc(c.text, func(r rune) bool { return strings.ContainsRune(" \t\"'=,;()[]", r) }) {
				name := strings.TrimRight(strings.TrimPrefix(word, "./"), ".:")
				if namesPath(name) && !exists(name) && !exists(path.Join(path.Dir(d.name), name)) {
					t.Errorf("%s:%d names the path %s: there is none", d.name, c.line, name)
				}
			}
		}
	}
}

// namesPath says whether a word is meant as a path in the repository: not one
// in the mount, nor with a placeholder, nor of what is built.
func namesPath(word string) bool {
	first, rest, _ := strings.Cut(word, "/")
	switch {
	case strings.ContainsAny(word, "<>{}$%~…@:|"), first == "", first == "..", first == "build", first == ".venv":
		return false
	case first == "tensors": // here, and in the mount
		return strings.HasPrefix(rest, "shm") || strings.HasSuffix(rest, ".go")
	case strings.HasSuffix(word, ".go"), strings.HasSuffix(word, "_test.py"):
		return rest != ""
	}
	return rest != "" && exists(first)
}

// TestDocumentEnvironment: some source reads each variable that is named.
func TestDocumentEnvironment(t *testing.T) {
	name := regexp.MustCompile(`\b(?:MODELFS|HF)_[A-Z][A-Z_]*\b`)
	known := map[string]bool{}
	walkRepository(t, func(file string) {
		if strings.HasSuffix(file, ".md") || file == "tests/docs_test.go" {
			return
		}
		for _, found := range name.FindAll(read(t, file), -1) {
			known[string(found)] = true
		}
	})
	for _, d := range documents(t) {
		for i, line := range d.lines {
			for _, variable := range name.FindAllString(line, -1) {
				if !known[variable] {
					t.Errorf("%s:%d names %s: nothing reads it", d.name, i+1, variable)
				}
			}
		}
	}
}

// TestDocumentHandlers: each file and class that a document has served by is there.
func TestDocumentHandlers(t *testing.T) {
	found := 0
	for _, d := range documents(t) {
		for i, line := range d.lines {
			for _, m := range regexp.MustCompile(`modelfs serve .*--model \S+=(\S+\.py):(\w+)`).FindAllStringSubmatch(line, -1) {
				found++
				if !exists(m[1]) || !regexp.MustCompile(`(?m)^class `+m[2]+`\b`).Match(read(t, m[1])) {
					t.Errorf("%s:%d: %s has no class %s", d.name, i+1, m[1], m[2])
				}
			}
		}
	}
	if found == 0 {
		t.Error("no document serves by a class of a file")
	}
}

// TestDocumentTargets: make knows each target that is named.
func TestDocumentTargets(t *testing.T) {
	makefile := string(read(t, "Makefile"))
	for _, d := range documents(t) {
		for _, c := range d.code {
			for _, words := range commandLines(c.text) {
				if words[0] != "make" {
					continue
				}
				for _, target := range words[1:] {
					if regexp.MustCompile(`^[a-z][a-z-]*$`).MatchString(target) && !regexp.MustCompile(`(?m)^`+target+`:`).MatchString(makefile) {
						t.Errorf("%s:%d names make %s: there is no such target", d.name, c.line, target)
					}
				}
			}
		}
	}
}

// TestDocumentFlags: modelfs has each command that is named, and each flag that
// is named with a command; a flag alone is one of some command.
func TestDocumentFlags(t *testing.T) {
	if testing.Short() {
		t.Skip("builds modelfs")
	}
	p := program{path: filepath.Join(t.TempDir(), "modelfs"), flags: map[string][]string{}}
	if out, err := exec.Command("go", "build", "-o", p.path, "../cmd/modelfs").CombinedOutput(); err != nil {
		t.Fatalf("build modelfs: %v\n%s", err, out)
	}
	every := append(p.every(t), "--device", "--cap-add") // and docker's
	flag := regexp.MustCompile(`--[a-z][a-z0-9-]*`)
	for _, d := range documents(t) {
		for _, c := range d.code {
			if alone := flag.FindString(c.text); alone != "" && strings.HasPrefix(c.text, alone) && !slices.Contains(every, alone) {
				t.Errorf("%s:%d names the flag %s: no command has it", d.name, c.line, alone)
			}
			for _, words := range commandLines(c.text) {
				if path.Base(words[0]) != "modelfs" {
					continue
				}
				command := ""
				if len(words) > 1 && regexp.MustCompile(`^[a-z][a-z-]*$`).MatchString(words[1]) {
					command = words[1]
				}
				known, ok := p.help(command)
				if !ok {
					t.Errorf("%s:%d names modelfs %s: there is no such command", d.name, c.line, command)
					continue
				}
				for _, f := range flag.FindAllString(strings.Join(words[1:], " "), -1) {
					if !slices.Contains(known, f) {
						t.Errorf("%s:%d names %s of modelfs %s: it has no such flag", d.name, c.line, f, command)
					}
				}
			}
		}
	}
}

// program is modelfs, built, and the flags of those of its commands that were
// asked for.
type program struct {
	path  string
	flags map[string][]string
}

// help returns the flags of a command, "" being modelfs itself; false if there
// is no such command.
func (p *program) help(command string) ([]string, bool) {
	if known, ok := p.flags[command]; ok {
		return known, known != nil
	}
	out, err := exec.Command(p.path, strings.Fields(command+" --help")...).CombinedOutput()
	if err != nil {
		p.flags[command] = nil
		return nil, false
	}
	known := []string{}
	for _, m := range regexp.MustCompile(`(?m)^\s+(--[a-z][a-z0-9-]*)`).FindAllSubmatch(out, -1) {
		known = append(known, string(m[1]))
	}
	p.flags[command] = known
	return known, true
}

// every is the flags of all commands that modelfs lists.
func (p *program) every(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command(p.path, "--help").Output()
	if err != nil {
		t.Fatalf("modelfs --help: %v", err)
	}
	_, list, ok := bytes.Cut(out, []byte("COMMANDS:"))
	if !ok {
		t.Fatalf("modelfs --help lists no commands:\n%s", out)
	}
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^   ([a-z-]+)[ ,]`).FindAllSubmatch(list, -1) {
		flags, _ := p.help(string(m[1]))
		all = append(all, flags...)
	}
	if len(all) == 0 {
		t.Fatalf("modelfs --help lists no commands with flags:\n%s", out)
	}
	return all
}

// commandLines splits shell text into commands of words, without comments,
// assignments and what only starts another command.
func commandLines(text string) [][]string {
	text = regexp.MustCompile(`(^|\s)#\s.*`).ReplaceAllString(text, "")
	var all [][]string
	for _, part := range regexp.MustCompile(`&&|\|\||\s\|\s|[;()]|\s&$`).Split(text, -1) {
		words := strings.Fields(part)
		for len(words) > 0 && (strings.Contains(words[0], "=") || slices.Contains([]string{"$", "<", "exec", "sudo", "time"}, words[0])) {
			words = words[1:]
		}
		if len(words) > 0 {
			all = append(all, words)
		}
	}
	return all
}

// document is one file of Markdown.
type document struct {
	name  string
	lines []string
	prose []string // lines without code, for links; as many as lines
	code  []code
}

// code is one span, or one line of a block.
type code struct {
	line int
	text string
}

// documents reads all Markdown of the repository.
func documents(t *testing.T) []document {
	t.Helper()
	var all []document
	walkRepository(t, func(name string) {
		if strings.HasSuffix(name, ".md") {
			all = append(all, parseDocument(name, string(read(t, name))))
		}
	})
	if len(all) == 0 {
		t.Fatal("no documents found")
	}
	return all
}

// parseDocument takes fenced blocks and spans apart from prose, and lines
// indented by four where a paragraph could begin.
func parseDocument(name, text string) document {
	d := document{name: name, lines: strings.Split(text, "\n")}
	span := regexp.MustCompile("`([^`]+)`")
	fenced, indented, blank := false, false, true
	for i, line := range d.lines {
		prose := ""
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		indented = !fenced && strings.HasPrefix(line, "    ") && (indented || blank)
		switch {
		case fence:
			fenced = !fenced
		case fenced || indented:
			d.code = append(d.code, code{i + 1, strings.TrimSpace(line)})
		default:
			for _, m := range span.FindAllStringSubmatch(line, -1) {
				d.code = append(d.code, code{i + 1, m[1]})
			}
			prose = span.ReplaceAllString(line, "")
		}
		d.prose = append(d.prose, prose)
		blank = strings.TrimSpace(line) == ""
	}
	return d
}

// headings are the anchors that a file of Markdown has.
func headings(t *testing.T, name string) []string {
	t.Helper()
	var anchors []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(read(t, name)), -1) {
		words := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors = append(anchors, strings.ReplaceAll(words, " ", "-"))
	}
	return anchors
}

// exists says whether a path of the repository, which may be a pattern, does.
func exists(name string) bool {
	found, err := filepath.Glob(filepath.Join("..", name))
	return err == nil && len(found) > 0
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
