// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// usageError is a command line that is wrong: exit code 2.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// usage rewords what the flag parser says, and names the flag that was meant.
func usage(c *cli.Context, err error, isCommand bool) error {
	text := err.Error()
	flags, command, help := c.App.Flags, "", "modelfs --help"
	if isCommand {
		flags, command = c.Command.Flags, c.Command.Name+": "
		help = "modelfs " + c.Command.Name + " --help"
	}
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		hint := ""
		if near := nearest(name, flagNames(flags)); near != "" {
			hint = ": did you mean --" + near + "?"
		}
		return usagef("%sunknown flag %s%s (%s lists them)", command, dashed(name), hint, help)
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return usagef("%s%s needs a value (%s)", command, dashed(name), help)
	}
	return usagef("%s%s (%s)", command, text, help)
}

func unknownCommand(app *cli.App, name string) error {
	var names []string
	for _, c := range app.Commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	if near := nearest(name, names); near != "" {
		return usagef("unknown command %q: did you mean %s? (modelfs --help lists them)", name, near)
	}
	return usagef("unknown command %q (modelfs --help lists them)", name)
}

// oneOf checks a flag that takes one of a few words.
func oneOf(flag, kind, value string, words ...string) error {
	if slices.Contains(words, value) {
		return nil
	}
	list := strings.Join(words, ", ")
	if near := nearest(value, words); near != "" {
		return usagef("--%s: unknown %s %q: did you mean %s? (%s)", flag, kind, value, near, list)
	}
	return usagef("--%s: unknown %s %q (%s)", flag, kind, value, list)
}

// flagNames are the names that somebody may have meant: every other letter is near a
// single one.
func flagNames(flags []cli.Flag) []string {
	var names []string
	for _, f := range flags {
		if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		for _, name := range f.Names() {
			if len(name) > 1 {
				names = append(names, name)
			}
		}
	}
	return names
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// nearest returns the candidate that is at most a third of its letters away from
// what was written, or begins with it; "" where none is.
func nearest(written string, candidates []string) string {
	best, bestDistance := "", 1<<30
	low := strings.ToLower(written)
	for _, c := range candidates {
		to := strings.ToLower(c)
		d := distance(low, to)
		if len(low) >= 2 && (strings.HasPrefix(to, low) || strings.HasSuffix(to, "/"+low)) {
			d = 0
		}
		if d <= (len(to)+2)/3 && d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, change or swap with a neighbour.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			change := 1
			if x[i-1] == y[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}
