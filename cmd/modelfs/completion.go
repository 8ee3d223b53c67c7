// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
)

// completionScripts ask the hidden command __complete for the candidates, with
// the words of the line up to the cursor, and offer files where it has none.
//
//go:embed completions
var completionScripts embed.FS

const shells = "bash|zsh|fish"

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print the completion script of a shell",
		ArgsUsage: shells,
		Description: "bash: source <(modelfs completion bash)\n" +
			"zsh:  source <(modelfs completion zsh)\n" +
			"fish: modelfs completion fish | source",
		Action: func(c *cli.Context) error {
			if err := argumentCount(c, 1, 1); err != nil {
				return err
			}
			shell := c.Args().First()
			script, err := completionScripts.ReadFile("completions/modelfs." + filepath.Base(shell))
			if err != nil {
				return usagef("completion: no script for shell %q: there is one for each of %s", shell, strings.ReplaceAll(shells, "|", ", "))
			}
			_, err = p.stdout.Write(script)
			return err
		},
	}
}

// completeCommand prints the candidates for the last of its words, one a line,
// with what they mean after a tab. It never fails: there is nobody to tell.
func (p *program) completeCommand() *cli.Command {
	return &cli.Command{
		Name: "__complete", Hidden: true, SkipFlagParsing: true, HideHelp: true,
		Action: func(c *cli.Context) error {
			words := c.Args().Slice()
			if len(words) == 0 {
				words = []string{""}
			}
			for _, candidate := range p.candidates(c, words[:len(words)-1], words[len(words)-1]) {
				fmt.Fprintln(p.stdout, candidate)
			}
			return nil
		},
	}
}

// candidates are the words that may stand where current is written.
func (p *program) candidates(c *cli.Context, before []string, current string) []string {
	app := c.App
	at := 0
	for at < len(before) && strings.HasPrefix(before[at], "-") {
		if takesNext(app.Flags, before[at]) {
			at++
		}
		at++
	}
	if at > len(before) { // the value of a flag of the program itself: --mount
		return matching(current, p.mountPoints())
	}
	if at == len(before) {
		if strings.HasPrefix(current, "-") {
			return matching(current, flagCandidates(app.VisibleFlags()))
		}
		return matching(current, commandCandidates(app))
	}
	command := app.Command(before[at])
	if command == nil {
		return nil
	}
	flags := append(command.Flags[:len(command.Flags):len(command.Flags)], cli.HelpFlag)
	if last := before[len(before)-1]; len(before) > at+1 && strings.HasPrefix(last, "-") && takesNext(flags, last) {
		return matching(current, p.flagValues(strings.TrimLeft(last, "-"), before))
	}
	if name, _, ok := strings.Cut(current, "="); ok && strings.HasPrefix(name, "-") {
		values := p.flagValues(strings.TrimLeft(name, "-"), before)
		for i := range values {
			values[i] = name + "=" + values[i]
		}
		return matching(current, values)
	}
	if strings.HasPrefix(current, "-") {
		return matching(current, flagCandidates(flags))
	}
	if command.Name == "export" && positional(flags, before[at+1:]) > 0 {
		return nil // the file to write
	}
	return matching(current, p.arguments(command.Name, before[at+1:], current))
}

// positional counts the words that are neither flags nor values of flags.
func positional(flags []cli.Flag, words []string) int {
	n := 0
	for i := 0; i < len(words); i++ {
		switch {
		case !strings.HasPrefix(words[i], "-"):
			n++
		case takesNext(flags, words[i]):
			i++
		}
	}
	return n
}

// arguments are what a command may be about.
func (p *program) arguments(command string, before []string, current string) []string {
	switch command {
	case "load":
		mount, names := p.modelNames(before)
		return append(names, filesOf(mount, names, current)...)
	case "evict", "pin", "unpin", "inspect", "export":
		_, names := p.modelNames(before)
		return names
	case "umount":
		return p.mountPoints()
	case "completion":
		return strings.Split(shells, "|")
	}
	return nil
}

func (p *program) flagValues(name string, before []string) []string {
	switch name {
	case "model":
		_, names := p.modelNames(before)
		return names
	case "policy":
		return []string{"lru", "lfu", "manual"}
	case "over-budget":
		return []string{"origin", "fail"}
	case "passthrough", "hugepages":
		return []string{"auto", "on", "off"}
	case "dtype":
		return dtypeNames()
	case "mount":
		return p.mountPoints()
	}
	return nil
}

// modelNames lists the models of the mount that the line names, or of the usual one.
func (p *program) modelNames(before []string) (mount string, names []string) {
	for i, word := range before {
		if v, ok := strings.CutPrefix(word, "--mount="); ok {
			mount = v
		} else if word == "--mount" && i+1 < len(before) {
			mount = before[i+1]
		}
	}
	if mount == "" {
		var err error
		if mount, err = p.usualMount(); err != nil {
			return "", nil
		}
	}
	status, err := readStatus(mount)
	if err != nil {
		return "", nil
	}
	for _, m := range status.Models {
		names = append(names, m.Name)
	}
	return mount, names
}

// filesOf lists the files of the model that current begins with.
func filesOf(mount string, names []string, current string) []string {
	var out []string
	for _, name := range names {
		below, ok := strings.CutPrefix(current, name+"/")
		if !ok {
			continue
		}
		folder := filepath.Dir(below + "x")
		entries, err := os.ReadDir(filepath.Join(mount, "models", name, folder))
		if err != nil {
			continue
		}
		for _, e := range entries {
			path := name + "/" + filepath.Join(folder, e.Name())
			if e.IsDir() {
				path += "/"
			}
			out = append(out, path)
		}
	}
	return out
}

func (p *program) mountPoints() []string {
	mounts, err := p.mounts()
	if err != nil {
		return nil
	}
	var out []string
	for _, m := range mounts {
		if m.kind == fsType {
			out = append(out, m.point)
		}
	}
	return out
}

func commandCandidates(app *cli.App) []string {
	var out []string
	for _, c := range app.VisibleCommands() {
		out = append(out, c.Name+"\t"+c.Usage)
	}
	return out
}

func flagCandidates(flags []cli.Flag) []string {
	var out []string
	for _, f := range flags {
		d, ok := f.(cli.DocGenerationFlag)
		if v, isVisible := f.(cli.VisibleFlag); !ok || isVisible && !v.IsVisible() {
			continue
		}
		out = append(out, dashed(f.Names()[0])+"\t"+strings.ReplaceAll(d.GetUsage(), "`", ""))
	}
	return out
}

func matching(current string, candidates []string) []string {
	var out []string
	for _, c := range candidates {
		if strings.HasPrefix(c, current) {
			out = append(out, c)
		}
	}
	return out
}
