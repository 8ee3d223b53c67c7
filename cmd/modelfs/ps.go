// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os/user"
	"strconv"

	"github.com/urfave/cli/v2"
)

func (p *program) psCommand() *cli.Command {
	return &cli.Command{
		Name: "ps", Usage: "list which processes use which model, and what each would cost alone",
		ArgsUsage: " ",
		Flags:     []cli.Flag{jsonFlag("the same as JSON"), mountFlag()},
		Action:    p.ps,
	}
}

func (p *program) ps(c *cli.Context) error {
	if err := argumentCount(c, 0, 0); err != nil {
		return err
	}
	mount, err := p.mount(c)
	if err != nil {
		return err
	}
	var uses []useReport
	text, err := readReport(mount, "ps.json", &uses)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		_, err = p.stdout.Write(text)
		return err
	}
	return p.printUses(uses)
}

func (p *program) printUses(uses []useReport) error {
	if len(uses) == 0 {
		_, err := fmt.Fprintln(p.stdout, "nobody has a model open or mapped")
		return err
	}
	t := newTable(">PID", "USER", "MODEL", ">MAPPED", ">ALONE", "COMMAND")
	for _, u := range uses {
		t.add(strconv.Itoa(u.PID), userName(u.UID), u.Model, humanSize(u.Mapped), humanSize(u.Alone), shorten(u.Command, 60))
	}
	return t.print(p.stdout)
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

// shorten cuts a long text at a character.
func shorten(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
