// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !modelfs_portable

package shm

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// childVariable makes this program a reader: it maps the file that the variable
// names, closes it, says so, and obeys.
const childVariable = "MODELFS_TEST_MAP"

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		if err := readerMain(path); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// The runtime's own descriptors come with the first pipe.
	if r, w, err := os.Pipe(); err == nil {
		_, _ = r.Close(), w.Close()
	}
	os.Exit(m.Run())
}

func readerMain(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, pageSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	_ = f.Close()
	fmt.Println("mapped", m[0])
	line := bufio.NewScanner(os.Stdin)
	for line.Scan() {
		switch line.Text() {
		case "unmap":
			if err := unix.Munmap(m); err != nil {
				return err
			}
			fmt.Println("unmapped")
		case "sum":
			sum := 0
			for _, x := range m {
				sum += int(x)
			}
			fmt.Println("sum", sum)
		}
	}
	return nil
}

// reader is another process that maps the first page of a segment.
type readerProcess struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

func startReader(t *testing.T, path string) *readerProcess {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childVariable+"="+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &readerProcess{t: t, cmd: cmd, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(p.kill)
	p.expect("mapped")
	return p
}

// do sends a command and waits for its answer.
func (p *readerProcess) do(command, answer string) string {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		p.t.Fatal(err)
	}
	return p.expect(answer)
}

func (p *readerProcess) expect(answer string) string {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatalf("the reader ended: %v", p.out.Err())
	}
	var rest string
	if n, _ := fmt.Sscanf(p.out.Text(), answer+" %s", &rest); n == 0 && p.out.Text() != answer {
		p.t.Fatalf("the reader says %q, want %s", p.out.Text(), answer)
	}
	return rest
}

// kill is kill -9.
func (p *readerProcess) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}
