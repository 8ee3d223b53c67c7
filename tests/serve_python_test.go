// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// servingPython is a Python that a server of a user can run handlers with.
type servingPython struct {
	program string
	path    string // PYTHONPATH: the tests' handlers, and packages
}

// needServingPython finds one that the place's user may run, with numpy: that of .venv,
// or the system's with the packages of .venv, which may lie where the user has no way to.
func needServingPython(t testing.TB, p *place) servingPython {
	t.Helper()
	handlers := p.folder("handlers")
	for _, file := range must(filepath.Glob("python/handlers/*.py"))(t) {
		if err := os.WriteFile(filepath.Join(handlers, filepath.Base(file)), must(os.ReadFile(file))(t), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	venv := must(filepath.Abs("../.venv"))(t)
	packages, _ := filepath.Glob(filepath.Join(venv, "lib/python3*/site-packages"))
	own := func() string { return handlers }
	type candidate struct {
		program string
		path    func() string
	}
	candidates := []candidate{{filepath.Join(venv, "bin/python"), own}}
	if len(packages) > 0 && p.mode.uid != 0 {
		candidates = append(candidates,
			candidate{"/usr/bin/python3", func() string { return handlers + ":" + packages[0] }},
			candidate{"/usr/bin/python3", func() string { return handlers + ":" + p.copyOfNumPy(packages[0]) }},
		)
	}
	candidates = append(candidates, candidate{"python3", own})
	why := ""
	for _, c := range candidates {
		py := servingPython{c.program, c.path()}
		cmd := as(exec.Command(py.program, "-c", "import numpy"), p.mode.uid)
		cmd.Dir = "/"
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PYTHONPATH=" + py.path, "PYTHONDONTWRITEBYTECODE=1", "HOME=" + p.dir}
		out, err := cmd.CombinedOutput()
		if err == nil {
			return py
		}
		why += fmt.Sprintf("%s: %v %s\n", py.program, err, tail(string(out), 200))
	}
	lacking(t, "python", "no Python with numpy that uid "+fmt.Sprint(p.mode.uid)+" may run (make setup):\n"+why)
	return servingPython{}
}

// copyOfNumPy puts NumPy where every user may read it.
func (p *place) copyOfNumPy(packages string) string {
	p.t.Helper()
	to := p.folder("packages")
	for _, name := range []string{"numpy", "numpy.libs"} {
		from := filepath.Join(packages, name)
		if _, err := os.Stat(filepath.Join(to, name)); err == nil {
			continue
		}
		if err := os.CopyFS(filepath.Join(to, name), os.DirFS(from)); err != nil {
			p.t.Logf("copy %s: %v", from, err)
		}
	}
	return to
}
