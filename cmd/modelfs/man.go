// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func (p *program) manCommand() *cli.Command {
	return &cli.Command{
		Name: "man", Usage: "print the manual page: modelfs man >modelfs.1", ArgsUsage: " ", Hidden: true,
		Action: func(c *cli.Context) error {
			if err := argumentCount(c, 0, 0); err != nil {
				return err
			}
			_, err := fmt.Fprint(p.stdout, manual(c.App))
			return err
		},
	}
}

// manual makes the manual page of an application, in man(7). The library's own
// leaves out the arguments and the descriptions of commands.
func manual(app *cli.App) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n", strings.ToUpper(app.Name), app.Name, roff(app.Usage))
	for _, c := range app.VisibleCommands() {
		fmt.Fprintf(&b, ".B %s\n%s\n.br\n", roff(app.Name+" "+c.Name), roff(strings.TrimSpace("[flags] "+c.ArgsUsage)))
	}
	b.WriteString(".SH DESCRIPTION\n" + paragraphs(app.Description))
	b.WriteString(".SH COMMANDS\n")
	for _, c := range app.VisibleCommands() {
		fmt.Fprintf(&b, ".SS %s\n%s.\n", roff(strings.TrimSpace(c.Name+" "+c.ArgsUsage)), roff(upperFirst(c.Usage)))
		if c.Description != "" {
			b.WriteString(".PP\n" + paragraphs(c.Description))
		}
		for _, f := range c.VisibleFlags() {
			b.WriteString(manualFlag(f))
		}
	}
	b.WriteString(manualEnd)
	return b.String()
}

const manualEnd = `.SH ENVIRONMENT
.TP
.B MODELFS_MOUNT
The mount that commands use where \-\-mount does not name one.
.TP
.B MODELFS_MODELS
Folders of models, separated by colons, that mount takes without \-\-models.
.TP
.BR HF_HUB_CACHE ", " HF_HOME ", " XDG_CACHE_HOME
Where the Hugging Face cache is: HF_HUB_CACHE itself, else hub in HF_HOME, else
huggingface/hub in XDG_CACHE_HOME, else in ~/.cache.
.SH FILES
.TP
.I MOUNT/models/MODEL/FILE
A model's own files. Opening a weight file loads it.
.TP
.I MOUNT/tensors/MODEL/TENSOR
One tensor; with .npy added, as NPY 1.0.
.TP
.IR MOUNT/.modelfs/status.json ", " ps.json ", " workers.json ", " metrics
What the daemon says of itself and its models, of who uses them, of the servers
of models, and all of it for Prometheus.
.SH EXIT STATUS
0 done, 1 failed, 2 wrong usage.
`

func manualFlag(f cli.Flag) string {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok || f.Names()[0] == "help" {
		return ""
	}
	usage := d.GetUsage()
	value := ""
	if d.TakesValue() {
		value = "VALUE"
		if _, rest, ok := strings.Cut(usage, "`"); ok {
			value, _, _ = strings.Cut(rest, "`")
		}
		if text := d.GetDefaultText(); text != "" {
			usage += " (default: " + text + ")"
		}
	}
	usage = strings.ReplaceAll(usage, "`", "")
	return fmt.Sprintf(".TP\n.BI %s \" %s\"\n%s.\n", roff(dashed(f.Names()[0])), value, roff(upperFirst(usage)))
}

// paragraphs writes text whose indented lines are examples.
func paragraphs(text string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		switch {
		case line == "":
			b.WriteString(".PP\n")
		case strings.HasPrefix(line, " "):
			fmt.Fprintf(&b, ".nf\n.RS\n%s\n.RE\n.fi\n", roff(strings.TrimSpace(line)))
		default:
			b.WriteString(roff(line) + "\n.br\n")
		}
	}
	return strings.TrimSuffix(b.String(), ".br\n")
}

var roffEscapes = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", "", "…", "...", "—", `\(em`)

// roff escapes what man(7) would take for its own.
func roff(text string) string {
	text = roffEscapes.Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}

func upperFirst(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
