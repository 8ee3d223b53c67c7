// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

func (p *program) statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show the daemon, its memory and its data path",
		ArgsUsage: " ",
		Flags:     []cli.Flag{jsonFlag("status.json as it is"), mountFlag()},
		Action:    p.status,
	}
}

func (p *program) status(c *cli.Context) error {
	if err := argumentCount(c, 0, 0); err != nil {
		return err
	}
	mount, err := p.mount(c)
	if err != nil {
		return err
	}
	s := &statusReport{}
	text, err := readReport(mount, "status.json", s)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		_, err = p.stdout.Write(text)
		return err
	}
	_, err = fmt.Fprint(p.stdout, statusText(s))
	return err
}

func statusText(s *statusReport) string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "%-11s %s\n", what, printable(fmt.Sprintf(format, args...)))
	}
	line("daemon", "modelfs %s, pid %d, up %s", s.Version, s.PID, humanDuration(time.Duration(s.UptimeSeconds*float64(time.Second))))
	line("mount", "%s", s.Mount)
	m := s.Memory
	line("memory", "%s of %s resident", humanSize(m.Resident), humanSize(m.Budget))
	if m.MappedAfterEviction > 0 {
		line("", "%s evicted or removed, and in use still: freed when its last user ends (modelfs ps)", humanSize(m.MappedAfterEviction))
	}
	if m.Session > 0 {
		line("", "%s in sessions", humanSize(m.Session))
	}
	line("data path", "passthrough %s, huge pages %s", onOff(s.DataPath.Passthrough), onOff(s.DataPath.HugePages))
	if s.DataPath.Reason != "" {
		line("", "%s (modelfs doctor says what to do)", s.DataPath.Reason)
	}
	line("models", "%s", modelCounts(s.Models))
	c := s.Counters
	line("opens", "%s, %s, %s", plural(c.Hits, "hit"), plural(c.Misses, "miss"), plural(c.FallbackOpens, "open")+" from the origin for want of room")
	line("loads", "%s, %d failed, %s", plural(c.Loads, "load"), c.LoadFailures, plural(c.Evictions, "eviction"))
	for i, src := range s.Sources {
		what := ""
		if i == 0 {
			what = "sources"
		}
		line(what, "%s (%s)", src.Spec, src.Kind)
	}
	for i, name := range s.Shadowed {
		what := ""
		if i == 0 {
			what = "shadowed"
		}
		line(what, "%s", name)
	}
	return b.String()
}

func modelCounts(models []modelReport) string {
	count := map[string]int{}
	pinned := 0
	for _, m := range models {
		count[m.State]++
		if m.Pinned {
			pinned++
		}
	}
	text := fmt.Sprintf("%d known", len(models))
	for _, state := range []string{"resident", "loading", "failed"} {
		if count[state] > 0 {
			text += fmt.Sprintf(", %d %s", count[state], state)
		}
	}
	if pinned > 0 {
		text += fmt.Sprintf(", %d pinned", pinned)
	}
	return text
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
