// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// markdown writes a report as docs/benchmarks.md has it. It shows the plots of a
// folder, if one is named.
func (r report) markdown(w io.Writer, plots string) error {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\n")
	b.WriteString("Written by `go run ./bench`: modelfs and its peers took turns in one run. A figure is the median of the rounds, with the least and the most " +
		"in brackets; a ratio is the median of the ratios within the rounds. Round 0 warms up and does not count.\n\n")
	if r.Quick {
		b.WriteString("**A quick run: small sizes and few rounds. It shows that everything works; the figures are not those that the goals are about.**\n\n")
	}
	writeRows(&b, "the machine", "", r.Machine.rows())
	if plots != "" {
		for _, p := range r.plots() {
			fmt.Fprintf(&b, "\n![%s](%s/%s)\n", p.title, filepath.ToSlash(plots), p.name)
		}
	}
	b.WriteString("\n| what | modelfs | peer | peer's name | ratio | goal | met |\n|---|---|---|---|---|---|---|\n")
	for _, line := range r.Results {
		line.row(&b)
	}
	notes := false
	for _, line := range r.Results {
		if line.Note == "" {
			continue
		}
		if !notes {
			b.WriteByte('\n')
			notes = true
		}
		fmt.Fprintf(&b, "- %s: %s\n", line.What, line.Note)
	}
	if len(r.Failures) > 0 {
		b.WriteString("\nNot measured:\n\n")
		for _, f := range r.Failures {
			fmt.Fprintf(&b, "- %s: %s\n", f.Measurement, strings.ReplaceAll(strings.TrimSpace(f.Error), "\n", " "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeRows(b *strings.Builder, left, right string, rows [][2]string) {
	fmt.Fprintf(b, "| %s | %s |\n|---|---|\n", left, right)
	for _, r := range rows {
		fmt.Fprintf(b, "| %s | %s |\n", cell(r[0]), cell(r[1]))
	}
}

func (r result) row(b *strings.Builder) {
	peer, ratio, met := "", "", ""
	if r.Peer != nil {
		peer = r.figure(*r.Peer)
	}
	if r.Ratio != nil {
		ratio = fmt.Sprintf("%s× (%s to %s)", digits(r.Ratio.Median), digits(r.Ratio.Min), digits(r.Ratio.Max))
	}
	switch {
	case r.Met != nil && *r.Met:
		met = "yes"
	case r.Met != nil:
		met = "**no**"
	case r.Goal != "":
		met = "not measured"
	}
	cells := []string{r.What, r.figure(r.Ours), peer, r.PeerName, ratio, r.Goal, met}
	for i := range cells {
		cells[i] = cell(cells[i])
	}
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

// figure is a summary, with the throughput where bytes were moved.
func (r result) figure(s summary) string {
	if s.Rounds == 0 {
		return ""
	}
	text := r.Unit.spread(s)
	if r.Bytes > 0 && r.Unit == seconds && s.Median > 0 {
		text += fmt.Sprintf(", %s GB/s", digits(float64(r.Bytes)/s.Median/1e9))
	}
	return text
}

// cell keeps a text inside its column.
func cell(s string) string { return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s) }
