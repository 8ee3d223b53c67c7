// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
)

// stepCompare reads each model as programs do without modelfs, a copy each, and
// by modelfs: when it must be loaded and when it is there.
func (d *demo) stepCompare(ctx context.Context) error {
	d.say("%d processes each, from open until every byte was added up; without modelfs the file is in the page cache", demoReaders)
	status, err := readStatus(d.mount)
	if err != nil {
		return err
	}
	t := newTable("MODEL", "SIZE", "HOW", ">TIME EACH", fmt.Sprintf(">MEMORY OF %d", demoReaders))
	for i := range d.models {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := d.compare(t, &d.models[i], status.DataPath.Passthrough); err != nil {
			return err
		}
	}
	return t.print(d.stdout)
}

func (d *demo) compare(t *table, m *demoModel, passthrough bool) error {
	slowest, memory, err := d.measure("copy", d.origin(*m), m)
	if err != nil {
		return err
	}
	t.add(m.name, humanSize(m.bytes), "a copy each, by read()", milliseconds(slowest), humanSize(memory))
	shared := m.bytes // the segment; without passthrough the page cache holds it once more
	if !passthrough {
		shared *= 2
	}
	if state, err := d.attribute(*m, stateAttribute); err == nil && state == "absent" {
		slowest, memory, err = d.measure("map", d.mounted(*m), m)
		if err != nil {
			return err
		}
		t.add("", "", "modelfs, loading it", milliseconds(slowest), humanSize(shared+memory))
	}
	slowest, memory, err = d.measure("map", d.mounted(*m), m)
	if err != nil {
		return err
	}
	t.add("", "", "modelfs, once loaded", milliseconds(slowest), humanSize(shared+memory))
	return nil
}

// measure has a file read by several processes at once, and returns the time of
// the slowest and the memory that they have as their own.
func (d *demo) measure(mode, path string, m *demoModel) (slowest float64, private int64, err error) {
	readers, err := startReaders(d.self, demoReaders, mode, path)
	defer end(readers)
	if err != nil {
		return 0, 0, err
	}
	for _, r := range readers {
		slowest = max(slowest, r.Seconds)
		private += r.Private
		if m.sum == 0 {
			m.sum = r.Sum
		}
		if r.Sum != m.sum {
			return 0, 0, fmt.Errorf("pid %d read other bytes of %s than the others", r.PID, path)
		}
	}
	return slowest, private, nil
}
