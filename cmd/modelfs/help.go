// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/urfave/cli/v2"

func (p *program) helpCommand() *cli.Command {
	return &cli.Command{
		Name: "help", Usage: "list the commands, or say what one of them takes", ArgsUsage: "[COMMAND]",
		Action: func(c *cli.Context) error {
			if err := argumentCount(c, 0, 1); err != nil {
				return err
			}
			if !c.Args().Present() {
				return cli.ShowAppHelp(c)
			}
			name := c.Args().First()
			if c.App.Command(name) == nil {
				return unknownCommand(c.App, name)
			}
			return cli.ShowCommandHelp(c, name)
		},
	}
}
