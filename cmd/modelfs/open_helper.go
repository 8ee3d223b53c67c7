// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/urfave/cli/v2"

	"github.com/modelfs/modelfs/workers/reference"
)

// openHelperCommand is a process that opens files for `modelfs serve` with the rights
// of one of its callers.
func (p *program) openHelperCommand() *cli.Command {
	return &cli.Command{
		Name: openHelper, Hidden: true,
		Action: func(c *cli.Context) error {
			if err := argumentCount(c, 0, 0); err != nil {
				return err
			}
			return reference.ServeHelper()
		},
	}
}

const openHelper = "open-helper"

// openHelperArguments start it. Every user may run this program by that path, whatever
// folder it lies in.
func openHelperArguments() []string { return []string{"/proc/self/exe", openHelper} }
