// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"errors"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	modulePath = "github.com/modelfs/modelfs"
	fuse       = "github.com/hanwen/go-fuse/v2/fuse"
	sys        = "golang.org/x/sys"
)

// layer says what the packages of one folder may import. The same rules are in
// .golangci.yml, for editors; this test also holds where golangci-lint does not
// run, sees the files of every platform, and fails for a package without a rule.
type layer struct {
	of    string   // path in the repository; with /... also what lies below
	may   []string // packages outside the standard library: of this module by their path in it, others with all that lies below
	never []string // of the standard library, with all that lies below
	why   string
}

// layers has the first match decide.
func layers() []layer {
	purity := []string{"log", "net", "os", "syscall", "unsafe"}
	return []layer{
		{"registry", nil, purity, "policy is pure and generic: other programs use it, and its tests need no machine"},
		{"loaders/internal/ggmltype", []string{"tensors"}, purity, "a table"},
		{"loaders/internal/...", []string{"loaders/malformed"}, purity, "bytes in, numbers out"},
		{"loaders/malformed", nil, purity, "every format says in the same words what is wrong, and knows no other"},
		{"loaders/npz", []string{"tensors", "loaders/malformed", "loaders/npy"}, purity, "an NPZ is a ZIP of NPYs"},
		{"loaders", []string{"tensors", "loaders/..."}, purity, "the one place that lists the formats"},
		{"loaders/...", []string{"tensors", "loaders/malformed", "loaders/internal/..."}, purity, "a format takes bytes and gives a list of tensors, knows no other format and opens nothing"},
		{"tensors", nil, purity, "the vocabulary of everybody else: no I/O"},
		{"tensors/convert", []string{"tensors"}, purity, "bytes of one element type in, bytes of another out"},
		{"tensors/stream", []string{"tensors", "tensors/shm", sys}, []string{"log", "net", "unsafe"}, "frames between processes, in memory that tensors/shm maps: other programs use it"},
		{"tensors/shm", []string{sys}, nil, "memory and leases, and nothing about models: other programs use it"},
		{"sources", []string{"loaders", sys}, nil, "where files lie, and from loaders only which of them are weight files: it parses nothing"},
		{"fs", []string{fuse, sys}, nil, "the kernel's side: it translates for entries that it declares itself, and alone speaks FUSE"},

		{"workers/internal/wire", []string{"workers/inference", "google.golang.org/genproto/googleapis/rpc/errdetails", "google.golang.org/grpc", "google.golang.org/protobuf"}, []string{"log", "net", "os", "syscall", "unsafe"}, "bytes in gRPC's buffers: what they mean others know"},
		{"workers/client", []string{"internal/announce", "workers/inference", "workers/internal/wire", "google.golang.org/grpc"}, []string{"log", "syscall", "unsafe"}, "other programs use it: it knows the protocol, and no server"},
		{"internal/announce", nil, []string{"log", "os", "syscall", "unsafe"}, "what servers say and the daemon and clients read: a shape"},
		{"internal/pythontest", nil, nil, "finds what tests compare with; only tests import it"},
		{"internal/users", []string{sys}, nil, "reads /proc, and decides nothing"},
		{"internal/catalog", []string{"loaders", "loaders/safetensors", "sources", "tensors", "github.com/hashicorp/golang-lru/v2"}, nil, "which models there are; it loads nothing"},
		{"internal/cache", []string{"internal/catalog", "registry", "sources", "tensors", "tensors/shm", sys}, nil, "alone joins policy, memory and origin"},
		{"internal/models", []string{"internal/cache", "internal/catalog", "internal/users", "registry"}, []string{"os", "syscall", "unsafe"}, "whole models by way of the cache: it touches no memory and no file"},
		{"internal/scratch", []string{sys}, nil, "files that processes write, and what becomes of them; it knows no models and no kernel"},
		{"internal/tree", []string{"fs", "internal/cache", "internal/catalog", "internal/models", "internal/scratch", sys, "internal/users", "registry", "sources", "tensors", "tensors/convert"}, []string{"unsafe"}, "entries are tested without a kernel: they do not speak FUSE, nor touch segments"},
		{"internal/daemon", []string{
			"fs", "internal/announce", "internal/cache", "internal/catalog", "internal/models", "internal/scratch", "internal/tree", "internal/users", "registry", "sources", "tensors/shm",
			"github.com/prometheus/client_golang/prometheus", "github.com/prometheus/common/expfmt", sys,
		}, nil, "wires the parts, and holds nothing that a part could hold"},

		{"workers/caller", []string{"google.golang.org/grpc", sys}, []string{"log"}, "connections, and who is at their other end: it knows no calls and no models"},
		{"workers/reference", []string{"loaders/npy", "tensors", "workers/call", "workers/caller", "workers/handler", sys}, []string{"log", "unsafe"}, "files that callers name; it knows no protocol, and maps nothing"},
		{"workers/arena", []string{"tensors/shm", "workers/handler", sys}, []string{"log", "net", "unsafe"}, "pieces of files that tensors/shm maps; it knows no calls"},
		{"workers/batch", nil, purity, "who waits and who goes together: it knows no protocol and no tensors"},
		{"workers/call", []string{"workers/inference"}, purity, "checks what a request says: no I/O, no memory of its own"},
		{"workers/handler", []string{"workers/call", sys}, []string{"net", "unsafe"}, "runs models, and knows no protocol but that of its own processes: programs that embed the server use it"},
		{"workers/inference", []string{"google.golang.org/grpc", "google.golang.org/protobuf"}, nil, "generated from the .proto files"},
		{"workers", []string{"workers/...", "google.golang.org/grpc", "github.com/prometheus/client_golang/prometheus"}, []string{"os", "syscall", "unsafe"}, "an adapter: calls become requests of handlers; it starts no process and opens no file"},
		{"python", nil, []string{"log", "net", "os", "syscall", "unsafe"}, "the files of the Python package"},
		{"internal/serving", []string{
			"internal/announce", "python", "tensors/shm", "workers", "workers/...", "google.golang.org/grpc", "github.com/prometheus/client_golang/prometheus", "go.opentelemetry.io", sys,
		}, []string{"unsafe"}, "wires an inference server, and holds nothing that a part could hold"},
		{"cmd/modelfs", []string{
			"internal/daemon", "internal/serving", "internal/catalog", "loaders", "loaders/safetensors", "sources", "tensors", "tensors/convert", "workers/reference",
			"github.com/urfave/cli/v2", "github.com/vbauerster/mpb/v8", sys,
		}, nil, "flags become one Config, and everything else goes through the mount (inspect and export, without one, through the catalog): it knows no segments, policies and FUSE"},
		{"bench/...", []string{modulePath + "/...", sys, "google.golang.org/grpc", "github.com/hanwen/go-fuse/v2", "gonum.org/v1/plot"}, nil, "measures whatever it likes; nobody imports it"},
		{"tests/...", []string{modulePath + "/...", "github.com/hanwen/go-fuse/v2/..."}, nil, "tests whatever it likes; nobody imports it"},
	}
}

// TestImports checks every Go file of the module that is not a test.
func TestImports(t *testing.T) {
	rules := layers()
	used := make([]bool, len(rules))
	for file, imports := range goImports(t) {
		pkg := path.Dir(file)
		i := slices.IndexFunc(rules, func(l layer) bool { return covers(l.of, pkg) })
		if i < 0 {
			t.Errorf("%s: %s has no rule: write down here and in .golangci.yml what it may import, and why", file, pkg)
			continue
		}
		used[i] = true
		for _, name := range imports {
			if !rules[i].allows(name) {
				t.Errorf("%s imports %s. %s: %s", file, name, rules[i].of, rules[i].why)
			}
		}
	}
	for i, l := range rules {
		if !used[i] && !strings.HasSuffix(l.of, "/...") {
			t.Errorf("there is a rule for %s, and no such package", l.of)
		}
	}
}

func (l layer) allows(name string) bool {
	if standard(name) {
		return name != "C" && !slices.ContainsFunc(l.never, func(never string) bool { return covers(never+"/...", name) })
	}
	return slices.ContainsFunc(l.may, func(may string) bool {
		first, _, _ := strings.Cut(may, "/")
		if strings.Contains(first, ".") {
			return covers(strings.TrimSuffix(may, "/...")+"/...", name)
		}
		ours, ok := strings.CutPrefix(name, modulePath+"/")
		return ok && covers(may, ours)
	})
}

// covers says whether pattern, as of the go command, matches the package.
func covers(pattern, pkg string) bool {
	if above, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == above || strings.HasPrefix(pkg, above+"/")
	}
	return pkg == pattern
}

// standard says whether a path is of the standard library: no dot in its first
// element.
func standard(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return !strings.Contains(first, ".")
}

// goImports is what each file of the module that is not a test imports, for any
// platform; files by their path in the repository.
func goImports(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	walkRepository(t, func(name string) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", name), nil, parser.ImportsOnly)
		if errors.Is(err, fs.ErrNotExist) {
			return // removed since it was listed
		}
		if err != nil {
			t.Error(err)
			return
		}
		found[name] = nil
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			found[name] = append(found[name], imported)
		}
	})
	if len(found) == 0 {
		t.Fatal("no Go files found")
	}
	return found
}

// walkRepository calls visit with every file's path in the repository, but for
// what git ignores, testdata, and other modules.
func walkRepository(t *testing.T, visit func(name string)) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	skip := []string{".git", ".venv", "build", "node_modules", "testdata", "__pycache__"}
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if !entry.IsDir() {
			relative, err := filepath.Rel(root, name)
			visit(filepath.ToSlash(relative))
			return err
		}
		if slices.Contains(skip, entry.Name()) {
			return fs.SkipDir
		}
		if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil && name != root {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
