// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
)

// program is what the commands need of the process that they run in.
type program struct {
	stdout, stderr io.Writer
	getenv         func(string) string
	euid           int
	mountTable     string     // path of mountinfo
	attributes     attributes // extended attributes of files in the mount
}

func newProgram() *program {
	return &program{
		stdout:     os.Stdout,
		stderr:     os.Stderr,
		getenv:     os.Getenv,
		euid:       os.Geteuid(),
		mountTable: "/proc/self/mountinfo",
		attributes: kernelAttributes{},
	}
}

// run executes one command line, args[0] being the program's name, and returns
// the exit code. What went wrong is on stderr by then.
func (p *program) run(ctx context.Context, args []string) int {
	args, err := mountHelperArguments(args)
	if err == nil {
		app := p.app()
		if args, err = interspersed(app, args); err == nil {
			err = app.RunContext(ctx, args)
		}
	}
	if err == nil {
		return 0
	}
	if message := err.Error(); message != "" {
		fmt.Fprintf(p.stderr, "modelfs: %s\n", printableLines(message))
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return 2
	}
	return 1
}

func (p *program) app() *cli.App {
	app := &cli.App{
		Name:     "modelfs",
		HelpName: "modelfs",
		Usage:    "load models once, share them between processes, tensors as files",
		Description: "modelfs mounts folders of models as a filesystem. A model is read once, at the speed of the disk, " +
			"into shared memory; every process of any language that opens it maps the same pages.\n\n" +
			"   modelfs mount --models ~/models /mnt/models\n" +
			"   ls -ls /mnt/models/models/*        # blocks: what is in memory\n" +
			"   modelfs umount /mnt/models",
		UsageText:                 "modelfs COMMAND [flags] [arguments]",
		Version:                   version(),
		Writer:                    p.stdout,
		ErrWriter:                 p.stderr,
		DisableSliceFlagSeparator: true,
		Flags:                     []cli.Flag{mountFlag(), cli.HelpFlag}, // the library adds it with its own help command only
		Commands:                  p.commands(),
		OnUsageError:              usage,
		Action:                    noCommand,
		ExitErrHandler:            func(*cli.Context, error) {}, // run decides
	}
	for _, c := range app.Commands {
		c.OnUsageError = usage
		c.HideHelpCommand = true // a model may be called "help"
	}
	return app
}

func (p *program) commands() []*cli.Command {
	return []*cli.Command{
		p.mountCommand(), p.umountCommand(), p.lsCommand(), p.loadCommand(), p.evictCommand(),
		p.pinCommand(), p.unpinCommand(), p.statusCommand(), p.psCommand(), p.inspectCommand(), p.exportCommand(),
		p.serveCommand(), p.doctorCommand(), p.demoCommand(), p.demoReaderCommand(), p.completionCommand(), p.completeCommand(), p.manCommand(), p.versionCommand(), p.helpCommand(),
		p.openHelperCommand(),
	}
}

// noCommand is what happens when the first argument is no command.
func noCommand(c *cli.Context) error {
	if c.Args().Present() {
		return unknownCommand(c.App, c.Args().First())
	}
	c.App.Writer = c.App.ErrWriter
	if err := cli.ShowAppHelp(c); err != nil {
		return err
	}
	return &usageError{}
}

// argumentCount checks that a command got as many arguments as it names.
func argumentCount(c *cli.Context, least, most int) error {
	switch n := c.Args().Len(); {
	case n < least:
		return usagef("%s: %s is missing (modelfs %s --help)", c.Command.Name, c.Command.ArgsUsage, c.Command.Name)
	case n > most && most == 0:
		return usagef("%s takes no argument, got %q", c.Command.Name, c.Args().First())
	case n > most:
		return usagef("%s %s: one argument too many: %q", c.Command.Name, c.Command.ArgsUsage, c.Args().Get(most))
	}
	return nil
}

// jsonFlag is --json of the commands that print tables.
func jsonFlag(what string) cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print " + what, DisableDefaultText: true}
}

// executable is the path of this program, for those that it starts again.
func executable() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the path of this program: %w", err)
	}
	return filepath.Clean(path), nil
}
