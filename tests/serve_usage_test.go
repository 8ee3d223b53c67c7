// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/workers/inference"
)

// TestServeUsage: what cannot be served is said, with what to do; the exit code is 2 if
// the command line is wrong, 1 if something is not there or in the way.
func TestServeUsage(t *testing.T) {
	p := newPlace(t, normal)
	p.writeModels("weights")
	p.write("two/config.json", []byte("{}"))
	p.write("two/decoder.onnx", []byte("x"))
	p.write("two/encoder.onnx", []byte("x"))
	d := p.start()
	py := needServingPython(t, p)
	file := filepath.Join(p.folder("run"), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	busy := l.Addr().String()
	socket := "unix:" + filepath.Join(p.dir, "run", "s")
	echo := []string{"--model", "e=served_models:Echo"}
	at := func(address string) []string { return append([]string{"--listen", address}, echo...) }
	for _, c := range []struct {
		args []string
		code int
		says []string
	}{
		{nil, 2, []string{"--model", "modelfs serve --help"}},
		{[]string{"--model", ""}, 2, []string{"NAME=MODULE:CLASS"}},
		{[]string{"--model", "a="}, 2, []string{"NAME=MODULE:CLASS"}},
		{[]string{"--model", "=m:C"}, 2, []string{"NAME=MODULE:CLASS"}},
		{[]string{"--model", "a=module"}, 2, []string{`"module" is no handler`, "NAME=MODULE:CLASS"}},
		{[]string{"--model", "a=:C"}, 2, []string{"NAME=MODULE:CLASS"}},
		{append([]string{"--model", "e=m:C"}, echo...), 2, []string{"e is given twice"}},
		{append([]string{"--workers", "0"}, echo...), 2, []string{"--workers 0", "from 1 on"}},
		{append([]string{"--max-delay", "2"}, echo...), 2, []string{"--max-delay"}},
		{append([]string{"--handler-memory", "much"}, echo...), 2, []string{"--handler-memory"}},
		{append([]string{"--preferred-batch", "8", "--max-batch", "4"}, echo...), 2, []string{"--preferred-batch 8", "--max-batch"}},
		{append([]string{"--no-such-flag"}, echo...), 2, []string{"no-such-flag"}},
		{append(echo, "argument"), 2, []string{"argument"}},
		{[]string{"--model", "none"}, 1, []string{"none", "has no such model", "modelfs ls"}},
		{[]string{"--model", "../weights"}, 1, []string{"../weights"}},
		{[]string{"--model", "weights"}, 1, []string{"no .onnx file", "--model weights=MODULE:CLASS"}},
		{[]string{"--model", "weights=other.onnx"}, 1, []string{"weights", "no file other.onnx"}},
		{[]string{"--model", "two"}, 1, []string{"several .onnx files", "--model two=decoder.onnx", "encoder.onnx"}},
		{at(busy), 1, []string{busy, "address already in use"}},
		{at("unix:" + file), 1, []string{file, "no socket"}},
		{at("unix:" + filepath.Join(file, "s")), 1, []string{file}},
		{at("unix-abstract:x"), 1, []string{"use unix:/PATH"}},
		{at("nowhere"), 1, []string{"nowhere", "HOST:PORT"}},
		{append([]string{"--http", busy}, echo...), 1, []string{busy, "address already in use"}},
		{append([]string{"--tokens", "/nonexistent"}, echo...), 1, []string{"--tokens", "/nonexistent"}},
		{append([]string{"--tls-cert", "/nonexistent"}, echo...), 1, []string{"--tls-key"}},
		{append([]string{"--python", "/nonexistent/python"}, echo...), 1, []string{"--python", "/nonexistent/python"}},
	} {
		args := append([]string{"--mount", d.mount, "serve"}, c.args...)
		if !strings.Contains(strings.Join(c.args, " "), "--listen") {
			args = append(args[:3:3], append([]string{"--listen", socket}, c.args...)...)
		}
		cmd := p.command(0, args...)
		cmd.Env = append(cmd.Env, "VIRTUAL_ENV="+filepath.Dir(filepath.Dir(py.program)))
		_, stderr, code := runCommand(t, cmd)
		if code != c.code {
			t.Errorf("serve %v exits %d, want %d: %s", c.args, code, c.code, stderr)
		}
		for _, want := range c.says {
			if !strings.Contains(stderr, want) {
				t.Errorf("serve %v does not say %q: %s", c.args, want, stderr)
			}
		}
	}
	without := p.command(0, append([]string{"--mount", d.mount, "serve", "--listen", socket}, echo...)...)
	without.Env = []string{"PATH=" + p.folder("empty"), "TMPDIR=" + filepath.Join(p.dir, "tmp")}
	if _, stderr, code := runCommand(t, without); code != 1 || !strings.Contains(stderr, "--python") || !strings.Contains(stderr, "python3") {
		t.Errorf("without Python: %d %s", code, stderr)
	}
	if text := must(os.ReadFile(file))(t); len(text) != 0 {
		t.Error("the file in the way was written")
	}
	out, _, _ := d.run("man")
	for _, want := range []string{"modelfs serve", "preferred"} {
		if !strings.Contains(strings.ReplaceAll(out, `\`, ""), want) {
			t.Errorf("the man page has no %q", want)
		}
	}
	for line, want := range map[string]string{"ser": "serve", "serve --max-b": "--max-batch", "serve --allow": "--allow-client-shm"} {
		out, stderr, code := d.run(append([]string{"__complete"}, strings.Fields(line)...)...)
		if got, _, _ := strings.Cut(strings.TrimSpace(out), "\t"); code != 0 || got != want {
			t.Errorf("completion of %q exits %d: %q, want %q: %s", line, code, out, want, stderr)
		}
	}
}

// TestServeWithoutPackages: what a handler is missing is the reason why its model cannot
// be called, with the command that installs it; the server and its other models serve.
func TestServeWithoutPackages(t *testing.T) {
	p := newPlace(t, normal)
	p.write("onnx/model.onnx", []byte("x"))
	d := p.start()
	py := needServingPython(t, p)
	bin := p.folder("bin")
	bare := filepath.Join(bin, "python")
	// -S: without the folder that packages are installed in.
	if err := os.WriteFile(bare, []byte(fmt.Sprintf("#!/bin/sh\nexec '%s' -S \"$@\"\n", py.program)), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, model string
		packages    map[string]string // that are in the way of those that are installed
		flags       []string
		says        []string
	}{
		{"NumPy", "m=served_models:Echo", nil, []string{"--python", bare}, []string{"needs the package numpy", bare + " -m pip install numpy"}},
		{"ONNX Runtime", "onnx", map[string]string{"onnxruntime.py": "raise ModuleNotFoundError(\"No module named 'onnxruntime'\", name='onnxruntime')\n"}, nil, []string{"onnxruntime", "-m pip install onnxruntime"}},
		{"the module", "m=no_such_module:Class", nil, nil, []string{"no_such_module"}},
		{"the class", "m=served_models:None", nil, nil, []string{"served_models", "None"}},
		{"a good file", "onnx", nil, nil, []string{"onnx"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := d.serverCommand(d, []string{c.model, "good=served_models:Echo"}, c.flags...)
			if len(c.flags) > 0 {
				s = d.serverCommand(d, []string{c.model}, c.flags...)
			}
			for name, text := range c.packages {
				if err := os.WriteFile(filepath.Join(p.folder("handlers"), name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { os.Remove(filepath.Join(p.folder("handlers"), name)) })
			}
			s.start()
			name, _, _ := strings.Cut(c.model, "=")
			var reason string
			s.await("the model is given up", func() bool {
				index, err := s.client().RepositoryIndex(s.context(), &inference.RepositoryIndexRequest{})
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range index.GetModels() {
					if m.GetName() == name && m.GetState() == "UNAVAILABLE" {
						reason = m.GetReason()
					}
				}
				return reason != ""
			})
			for _, want := range c.says {
				if !strings.Contains(reason, want) {
					t.Errorf("the reason does not say %q: %s", want, reason)
				}
			}
			_, err := s.client().ModelInfer(s.context(), request(name, nil))
			if err == nil || !strings.Contains(err.Error(), "Unavailable") || !strings.Contains(err.Error(), reason) {
				t.Errorf("a call of it: %v", err)
			}
			if len(c.flags) == 0 {
				s.await("the other model serves", func() bool {
					_, err := s.client().ModelInfer(s.context(), request("good", [][]byte{{1}}, tensorOf("x", "UINT8", 1)))
					return err == nil
				})
			}
			s.end()
		})
	}
	// ONNX Runtime itself leaves this, whoever uses it.
	if err := os.RemoveAll(filepath.Join(p.dir, "tmp", ".ses")); err != nil {
		t.Error(err)
	}
}
