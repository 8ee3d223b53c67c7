// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// readerReport is what a reader of the demo says on its standard output, once.
type readerReport struct {
	PID     int     `json:"pid"`
	Seconds float64 `json:"seconds"` // from before open until every byte was added up
	Sum     uint64  `json:"sum"`
	Rss     int64   `json:"rss"`     // of the weights alone, in bytes
	Private int64   `json:"private"` // of that, its own copies
}

// demoReaderCommand is a process that works with a model: `map` maps the file,
// `copy` reads it into memory of its own, as a program without modelfs does. It
// stays until its standard input ends.
func (p *program) demoReaderCommand() *cli.Command {
	return &cli.Command{
		Name: "demo-reader", Hidden: true, ArgsUsage: "map|copy FILE",
		Action: func(c *cli.Context) error {
			if err := argumentCount(c, 2, 2); err != nil {
				return err
			}
			report, weights, err := readWeights(c.Args().Get(0), c.Args().Get(1))
			if err != nil {
				return err
			}
			if err := json.NewEncoder(p.stdout).Encode(report); err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, os.Stdin)
			runtime.KeepAlive(weights)
			return err
		},
	}
}

// readWeights attaches a file and adds up its bytes. The memory stays.
func readWeights(mode, path string) (readerReport, []byte, error) {
	began := time.Now()
	f, err := os.Open(path)
	if err != nil {
		return readerReport{}, nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return readerReport{}, nil, err
	}
	var weights []byte
	switch mode {
	case "map":
		weights, err = unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	case "copy":
		weights, err = unix.Mmap(-1, 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err == nil {
			_, err = io.ReadFull(f, weights)
		}
	default:
		return readerReport{}, nil, usagef("demo-reader: map or copy, not %q", mode)
	}
	if err != nil {
		return readerReport{}, nil, fmt.Errorf("%s %s: %w", mode, path, err)
	}
	r := readerReport{PID: os.Getpid(), Sum: addUp(weights), Seconds: time.Since(began).Seconds()}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return readerReport{}, nil, err
	}
	defer smaps.Close()
	var from uint64
	if _, err := fmt.Sscanf(fmt.Sprintf("%p", weights), "0x%x", &from); err != nil {
		return readerReport{}, nil, fmt.Errorf("find the weights in memory: %w", err)
	}
	r.Rss, r.Private, err = resident(smaps, from, from+uint64(len(weights)))
	return r, weights, err
}

// addUp adds the 64-bit words of a file, and the bytes of its tail.
func addUp(b []byte) (sum uint64) {
	for ; len(b) >= 8; b = b[8:] {
		sum += binary.LittleEndian.Uint64(b)
	}
	for _, c := range b {
		sum += uint64(c)
	}
	return sum
}

// resident reads from smaps how many bytes of an address range are in memory,
// and how many of them are this process's own.
func resident(smaps io.Reader, from, to uint64) (rss, private int64, err error) {
	inside := false
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		first, rest, _ := strings.Cut(lines.Text(), " ")
		if a, b, ok := strings.Cut(first, "-"); ok && !strings.HasSuffix(first, ":") {
			start, err1 := strconv.ParseUint(a, 16, 64)
			end, err2 := strconv.ParseUint(b, 16, 64)
			inside = err1 == nil && err2 == nil && start < to && end > from
			continue
		}
		if !inside {
			continue
		}
		var kib int64
		if n, _ := fmt.Sscan(rest, &kib); n != 1 {
			continue
		}
		switch first {
		case "Rss:":
			rss += kib << 10
		case "Anonymous:":
			private += kib << 10
		}
	}
	return rss, private, lines.Err()
}

// reader is a running reader.
type reader struct {
	readerReport
	process *exec.Cmd
	stdin   io.Closer
	stdout  *json.Decoder
	said    bytes.Buffer // its stderr; read after its end
}

// startReaders starts processes that read a file all at once, and waits for
// their reports. Those that started are returned with an error as well.
func startReaders(self string, n int, mode, path string) ([]*reader, error) {
	var all []*reader
	for range n {
		cmd := exec.Command(self, "demo-reader", mode, path)
		r := &reader{process: cmd}
		cmd.Stderr = &r.said
		in, err1 := cmd.StdinPipe()
		out, err2 := cmd.StdoutPipe()
		if err := errors.Join(err1, err2); err != nil {
			return all, err
		}
		if err := cmd.Start(); err != nil {
			return all, fmt.Errorf("start a reader: %w", err)
		}
		r.stdin, r.stdout = in, json.NewDecoder(out)
		all = append(all, r)
	}
	for _, r := range all {
		if err := r.stdout.Decode(&r.readerReport); err != nil {
			end(all)
			return all, fmt.Errorf("a reader of %s failed (%s): %s", path, r.process.ProcessState, strings.TrimSpace(r.said.String()))
		}
	}
	return all, nil
}

// end lets the readers go and waits until they are gone. Again does no harm.
func end(readers []*reader) {
	for _, r := range readers {
		r.stdin.Close()
	}
	for _, r := range readers {
		_ = r.process.Wait() // the exit of one that was killed is no error here
	}
}
