// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

func (p *program) evictCommand() *cli.Command {
	return &cli.Command{
		Name: "evict", Usage: "free the memory of a model that nobody uses",
		ArgsUsage: "MODEL|--idle|--all",
		Description: "Memory is never taken from under a reader: a model in use stays, evict says who uses it and exits 1. " +
			"--idle frees all models that nobody uses; --all too, and exits 1 if any stays because it is in use.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "idle", Usage: "all models that nobody uses", DisableDefaultText: true},
			&cli.BoolFlag{Name: "all", Usage: "all models; fails if one is in use", DisableDefaultText: true},
			mountFlag(),
		},
		Action: p.evict,
	}
}

func (p *program) evict(c *cli.Context) error {
	idle, all := c.Bool("idle"), c.Bool("all")
	named := c.Args().Len()
	switch {
	case named > 1:
		return argumentCount(c, 1, 1)
	case named == 0 && !idle && !all, named == 1 && (idle || all), idle && all:
		return usagef("evict: name one MODEL, or say --idle, or --all")
	}
	mount, err := p.mount(c)
	if err != nil {
		return err
	}
	if named == 1 {
		return p.evictModel(mount, c.Args().First())
	}
	if all {
		return p.evictMany(mount, "all")
	}
	return p.evictMany(mount, "idle")
}

func (p *program) evictModel(mount, name string) error {
	t, err := p.resolveModel(mount, name)
	if err != nil {
		return err
	}
	resident := p.number(t.folder(), residentAttribute)
	err = p.set(t, evictAttribute, "1")
	switch {
	case errors.Is(err, unix.EBUSY):
		return p.whyNotEvicted(t)
	case err != nil:
		return explainModel(t, "evict", err)
	case p.isLoading(t):
		return fmt.Errorf("%s is being loaded, which an eviction does not end: evict it when that is over (modelfs ls)", t.model)
	case resident == 0:
		_, err = fmt.Fprintf(p.stdout, "%s was not in memory\n", printable(t.model))
	default:
		_, err = fmt.Fprintf(p.stdout, "evicted %s: %s freed\n", printable(t.model), humanSize(resident))
	}
	return err
}

func (p *program) isLoading(t target) bool {
	state, err := p.attributes.get(t.folder(), stateAttribute)
	return err == nil && state == "loading"
}

func (p *program) evictMany(mount, which string) error {
	before, err := readStatus(mount)
	if err != nil {
		return err
	}
	folder := filepath.Join(mount, "models")
	busy := p.attributes.set(folder, evictAttribute, which)
	if busy != nil && !errors.Is(busy, unix.EBUSY) {
		return explainModel(target{mount: mount, model: "--" + which}, "evict", busy)
	}
	after, err := readStatus(mount)
	if err != nil {
		return err
	}
	freed := max(before.Memory.Resident-after.Memory.Resident, 0)
	if _, err := fmt.Fprintf(p.stdout, "%s freed, %s resident\n", humanSize(freed), humanSize(after.Memory.Resident)); err != nil {
		return err
	}
	if busy == nil {
		return nil
	}
	return p.inUse(mount, "")
}

// whyNotEvicted is the error of an eviction that was refused: the model is in
// use, or pinned.
func (p *program) whyNotEvicted(t target) error {
	if pinned, _ := p.attributes.get(t.folder(), pinnedAttribute); pinned == "1" {
		if uses, err := readUses(t.mount, t.model); err == nil && len(uses) == 0 {
			return fmt.Errorf("%s is pinned: modelfs unpin %s lets it go", t.model, t.model)
		}
	}
	return p.inUse(t.mount, t.model)
}

// inUse is the error of an eviction that somebody is in the way of: of one
// model or, with "", of several. It says who.
func (p *program) inUse(mount, model string) error {
	what := model + " is in use"
	if model == "" {
		what = "some models stay, they are in use"
	}
	uses, err := readUses(mount, model)
	if err != nil {
		return fmt.Errorf("%s (who uses it cannot be seen: %w)", what, err)
	}
	if len(uses) == 0 {
		return fmt.Errorf("%s by a process that cannot be seen from here (another container or pid namespace, or one that just ended): try again, or look with `modelfs ps`", what)
	}
	const most = 10
	var b strings.Builder
	fmt.Fprintf(&b, "%s by %s; end them, or wait until they close it:", what, plural(countProcesses(uses), "process"))
	for i, u := range uses {
		if i == most {
			fmt.Fprintf(&b, "\n  and %d more (modelfs ps)", len(uses)-most)
			break
		}
		fmt.Fprintf(&b, "\n  pid %d  %s", u.PID, printable(shorten(u.Command, 60)))
		if model == "" {
			fmt.Fprintf(&b, "  (%s)", printable(u.Model))
		}
	}
	return errors.New(b.String())
}

func countProcesses(uses []useReport) int {
	seen := map[int]bool{}
	for _, u := range uses {
		seen[u.PID] = true
	}
	return len(seen)
}
