// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

func (p *program) lsCommand() *cli.Command {
	return &cli.Command{
		Name: "ls", Usage: "list the models: state, references, memory, last use",
		ArgsUsage: " ",
		Flags:     []cli.Flag{jsonFlag("the models of status.json"), mountFlag()},
		Action:    p.ls,
	}
}

func (p *program) ls(c *cli.Context) error {
	if err := argumentCount(c, 0, 0); err != nil {
		return err
	}
	mount, err := p.mount(c)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		var raw struct {
			Models []json.RawMessage `json:"models"`
		}
		if _, err := readReport(mount, "status.json", &raw); err != nil {
			return err
		}
		if raw.Models == nil {
			raw.Models = []json.RawMessage{}
		}
		return p.printJSON(raw.Models)
	}
	status, err := readStatus(mount)
	if err != nil {
		return err
	}
	return p.printModels(status.Models)
}

func (p *program) printModels(models []modelReport) error {
	if len(models) == 0 {
		_, err := fmt.Fprintln(p.stdout, "no models (modelfs status shows where they are looked for)")
		return err
	}
	t := newTable("MODEL", "STATE", ">REFS", ">RESIDENT/SIZE", "PINNED", ">TTL", "LAST USE")
	for _, m := range models {
		t.add(m.Name, m.State, fmt.Sprint(m.Refs), residency(m), yes(m.Pinned), timeToLive(m.TTLSeconds), ago(m.LastUsedAt))
	}
	if err := t.print(p.stdout); err != nil {
		return err
	}
	for _, m := range models {
		if m.Error != nil {
			if _, err := fmt.Fprintf(p.stdout, "\n%s: %s\n", printable(m.Name), printable(*m.Error)); err != nil {
				return err
			}
		}
	}
	return nil
}

func residency(m modelReport) string {
	resident := "-"
	if m.Resident > 0 {
		resident = humanSize(m.Resident)
	}
	return resident + "/" + humanSize(m.Bytes)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "-"
}

func timeToLive(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	text := time.Duration(seconds * float64(time.Second)).String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}

func ago(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return humanDuration(time.Since(*t)) + " ago"
}

// printJSON writes a document as status.json is written.
func (p *program) printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("make JSON: %w", err)
	}
	_, err = fmt.Fprintf(p.stdout, "%s\n", text)
	return err
}
