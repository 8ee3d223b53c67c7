// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func (p *program) pinCommand() *cli.Command {
	return &cli.Command{
		Name: "pin", Usage: "keep a model: it never goes to make room, nor by its TTL; does not load it",
		ArgsUsage: "MODEL",
		Flags:     []cli.Flag{mountFlag()},
		Action:    func(c *cli.Context) error { return p.setPinned(c, "1", "pinned") },
	}
}

func (p *program) unpinCommand() *cli.Command {
	return &cli.Command{
		Name: "unpin", Usage: "let a pinned model go like any other",
		ArgsUsage: "MODEL",
		Flags:     []cli.Flag{mountFlag()},
		Action:    func(c *cli.Context) error { return p.setPinned(c, "0", "unpinned") },
	}
}

func (p *program) setPinned(c *cli.Context, value, done string) error {
	if err := argumentCount(c, 1, 1); err != nil {
		return err
	}
	mount, err := p.mount(c)
	if err != nil {
		return err
	}
	t, err := p.resolveModel(mount, c.Args().First())
	if err != nil {
		return err
	}
	if err := p.set(t, pinnedAttribute, value); err != nil {
		return explainModel(t, c.Command.Name, err)
	}
	_, err = fmt.Fprintf(p.stdout, "%s %s\n", done, printable(t.model))
	return err
}
