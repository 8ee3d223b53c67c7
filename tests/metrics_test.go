// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestReports: the metrics parse, agree with status.json at every step, and name no
// model, process or tensor; status.json has every field of the contract.
// The control: the numbers change between the steps.
func TestReports(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		p.writeModels("confidential", "other")
		d := p.start("--memory", "64MiB", "--ttl", "1h")
		check := func(step string, loads, hits, evictions int64) {
			t.Helper()
			s, metrics := d.status(), d.metrics()
			c := s.Counters
			if c.Loads != loads || c.Hits != hits || c.Evictions != evictions || c.LoadFailures != 0 {
				t.Errorf("%s: %d loads, %d hits, %d evictions, %d failures; want %d, %d, %d and none", step, c.Loads, c.Hits, c.Evictions, c.LoadFailures, loads, hits, evictions)
			}
			for name, want := range map[string]int64{
				"modelfs_loads_total": c.Loads, "modelfs_hits_total": c.Hits, "modelfs_misses_total": c.Misses,
				"modelfs_load_failures_total": c.LoadFailures, "modelfs_evictions_total": c.Evictions,
				"modelfs_fallback_opens_total": c.FallbackOpens, "modelfs_resident_bytes": s.Memory.Resident,
				"modelfs_capacity_bytes": 64 << 20, "modelfs_mapped_after_eviction_bytes": s.Memory.MappedAfterEviction,
			} {
				if got, ok := metrics[name]; !ok && want != 0 || int64(got) != want {
					t.Errorf("%s: %s is %v (there: %v), status.json says %d", step, name, got, ok, want)
				}
			}
		}
		check("at first", 0, 0, 0)
		start := time.Now().Add(-time.Second)
		d.use("confidential", "confidential", "other")
		check("used", 2, 1, 0)
		s := d.status()
		of := s.of(t, "confidential")
		if of.LoadedAt == nil || of.LoadedAt.Before(start) || of.LastUsedAt == nil || of.LastUsedAt.Before(*of.LoadedAt) || of.Hits != 1 || of.TTLSeconds != 3600 {
			t.Errorf("status.json says of it %+v", of)
		}
		if _, stderr, code := d.run("evict", "other"); code != 0 {
			t.Error(stderr)
		}
		check("evicted", 2, 1, 1)
		if s.Version == "" || s.Mount != d.mount || s.UptimeSeconds == nil || s.Memory.Budget != 64<<20 || !bytes.Contains(must(d.read(d.at(".modelfs/status.json")))(t), []byte(`"session_bytes": 0`)) {
			t.Errorf("status.json lacks something: %+v", s)
		}
		text := string(must(d.read(d.at(".modelfs/metrics")))(t))
		for _, word := range []string{"confidential", "weight", d.mount} {
			if strings.Contains(text, word) {
				t.Errorf("the metrics name %q", word)
			}
		}
		if p := d.metrics()["modelfs_request_panics_total"]; p != 0 {
			t.Errorf("%v requests panicked", p)
		}
		d.checkPrinted(t)
	})
}

// checkPrinted sees that the commands print what the mount shows.
func (d *daemon) checkPrinted(t *testing.T) {
	t.Helper()
	var s status
	out, stderr, code := d.run("status", "--json")
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 || s.Mount != d.mount {
		t.Errorf("status --json exits %d: %v %s", code, err, stderr)
	}
	var models []modelStatus
	out, stderr, code = d.run("ls", "--json")
	if err := json.Unmarshal([]byte(out), &models); err != nil || code != 0 || len(models) != len(s.Models) {
		t.Errorf("ls --json exits %d with %d models: %v %s", code, len(models), err, stderr)
	}
	var ix index
	out, stderr, code = d.run("inspect", "--json", "confidential")
	if err := json.Unmarshal([]byte(out), &ix); err != nil || code != 0 || len(ix.Tensors) != 1 || ix.Tensors[0].Name != "weight" {
		t.Errorf("inspect --json exits %d: %v %s\n%s", code, err, stderr, out)
	}
	for _, args := range [][]string{{"ls"}, {"status"}, {"ps"}, {"inspect", "confidential"}} {
		if out, stderr, code := d.run(args...); code != 0 || out == "" {
			t.Errorf("%v exits %d: %s", args, code, stderr)
		}
	}
}

// TestNullInReports: what is a list is a list when it is empty, not null: clients
// go through it without asking.
func TestNullInReports(t *testing.T) {
	p := newPlace(t, normal)
	d := p.start()
	var s map[string]json.RawMessage
	if err := json.Unmarshal(must(d.read(d.at(".modelfs/status.json")))(t), &s); err != nil {
		t.Fatal(err)
	}
	for name, value := range s {
		if string(value) == "null" {
			t.Errorf("status.json: %s is null", name)
		}
	}
	p.write("m/config.json", []byte("{}"))
	eventually(t, patience, "the model is seen", func() bool { return len(d.modelNames()) == 1 })
	text := must(d.read(d.at("tensors/m/index.json")))(t)
	if ix := d.index("m"); ix.Tensors == nil || ix.Error != nil {
		t.Errorf("the index.json of a model without weights: %s", text)
	}
}
