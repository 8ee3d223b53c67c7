// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// interspersed moves a command's flags before its arguments, since the flag
// parser stops at the first argument and people write `modelfs inspect FILE
// --json`. What follows "--" stays as it is.
func interspersed(app *cli.App, args []string) ([]string, error) {
	at := 1
	for at < len(args) && strings.HasPrefix(args[at], "-") { // flags of the program itself
		if args[at] == "--" {
			return args, nil
		}
		if takesNext(app.Flags, args[at]) {
			at++
		}
		at++
	}
	if at >= len(args) {
		return args, nil
	}
	command := app.Command(args[at])
	if command == nil || command.SkipFlagParsing {
		return args, nil
	}
	flags, rest := []string{}, []string{}
	tail := args[at+1:]
	for i := 0; i < len(tail); i++ {
		arg := tail[i]
		switch {
		case arg == "--":
			rest = append(rest, tail[i+1:]...)
			i = len(tail)
		case len(arg) < 2 || arg[0] != '-':
			rest = append(rest, arg)
		default:
			flags = append(flags, arg)
			if !takesNext(command.Flags, arg) {
				break
			}
			if i++; i == len(tail) {
				return nil, usagef("%s: %s needs a value (modelfs %s --help)", command.Name, arg, command.Name)
			}
			flags = append(flags, tail[i])
		}
	}
	out := append([]string{}, args[:at+1]...)
	out = append(append(out, flags...), "--")
	return append(out, rest...), nil
}

// takesNext says whether a flag's value is the next word of the command line.
func takesNext(flags []cli.Flag, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range flags {
		for _, n := range f.Names() {
			if d, ok := f.(cli.DocGenerationFlag); ok && n == name {
				return d.TakesValue()
			}
		}
	}
	return false
}
