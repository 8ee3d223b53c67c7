// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	maxLine  = 4096 // bytes of one that is logged whole
	lastWord = 400  // bytes of the last one, in an error
)

// output is what a child prints: each line goes to the log, and the last of stderr is
// kept to say why it did not start.
type output struct {
	mu   sync.Mutex
	line string
}

// streams are the two pipes of a child.
type streams struct {
	output        *output
	reads, writes [2]*os.File
	done          sync.WaitGroup
}

// pipes gives the child its stdout and stderr. They are not left to exec.Cmd, whose Wait
// would wait for whatever else has them open.
func (o *output) pipes(child *exec.Cmd) (*streams, error) {
	s := &streams{output: o}
	for i := range s.reads {
		var err error
		if s.reads[i], s.writes[i], err = os.Pipe(); err != nil {
			return s, err
		}
	}
	child.Stdout, child.Stderr = s.writes[0], s.writes[1]
	return s, nil
}

// started closes the ends that the child has now.
func (s *streams) started() {
	for _, f := range s.writes {
		f.Close()
	}
}

// read logs what comes.
func (s *streams) read(log *slog.Logger) {
	for i, name := range [2]string{"stdout", "stderr"} {
		s.done.Go(func() { s.output.copy(s.reads[i], log, name) })
	}
}

// end waits a little for the rest and closes the pipes.
func (s *streams) end() {
	for _, f := range s.reads {
		if f != nil {
			_ = f.SetReadDeadline(time.Now().Add(lastWords))
		}
	}
	s.done.Wait()
	for _, f := range s.reads {
		if f != nil {
			f.Close()
		}
	}
}

func (o *output) copy(from io.Reader, log *slog.Logger, name string) {
	lines := bufio.NewReaderSize(from, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		text := strings.ToValidUTF8(strings.TrimRight(string(line), "\r\n"), "\uFFFD")
		if strings.TrimSpace(text) != "" {
			if name == "stderr" {
				o.keep(text)
			}
			log.Info(text, "stream", name)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (o *output) keep(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.line = line
}

// last is the last line that the child printed to stderr: of an exception what it is, and
// not where.
func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := strings.TrimSpace(o.line)
	if len(text) > lastWord {
		text = strings.ToValidUTF8(text[:lastWord], "") + "…"
	}
	return text
}

var noModule = regexp.MustCompile(`No module named '?([A-Za-z_]\w*)`)

// missing is the Python package for want of which the child ended; "" if it was not that.
func (o *output) missing() string {
	found := noModule.FindStringSubmatch(o.last())
	if found == nil {
		return ""
	}
	return found[1]
}
