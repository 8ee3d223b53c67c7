// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sys/unix"
)

// status is status.json, as the contract has it.
type status struct {
	Version       string   `json:"version"`
	Mount         string   `json:"mount"`
	UptimeSeconds *float64 `json:"uptime_seconds"`
	Memory        struct {
		Budget              int64 `json:"budget_bytes"`
		Resident            int64 `json:"resident_bytes"`
		MappedAfterEviction int64 `json:"mapped_after_eviction_bytes"`
		Session             int64 `json:"session_bytes"` // absent reads as 0: TestReports looks
	} `json:"memory"`
	DataPath struct {
		Passthrough bool   `json:"passthrough"`
		HugePages   bool   `json:"hugepages"`
		Reason      string `json:"reason"`
	} `json:"data_path"`
	Models   []modelStatus `json:"models"`
	Shadowed []string      `json:"shadowed"`
	Counters struct {
		Hits          int64 `json:"hits"`
		Misses        int64 `json:"misses"`
		Loads         int64 `json:"loads"`
		LoadFailures  int64 `json:"load_failures"`
		Evictions     int64 `json:"evictions"`
		FallbackOpens int64 `json:"fallback_opens"`
	} `json:"counters"`
}

type modelStatus struct {
	Name          string     `json:"name"`
	State         string     `json:"state"`
	Refs          int        `json:"refs"`
	Bytes         int64      `json:"bytes"`
	ResidentBytes int64      `json:"resident_bytes"`
	LoadedAt      *time.Time `json:"loaded_at"`
	LastUsedAt    *time.Time `json:"last_used_at"`
	Loads         int64      `json:"loads"`
	Hits          int64      `json:"hits"`
	Pinned        bool       `json:"pinned"`
	TTLSeconds    float64    `json:"ttl_seconds"`
	Error         *string    `json:"error"`
}

func (d *daemon) status() status {
	d.t.Helper()
	return d.statusSeenBy(d.reader)
}

func (d *daemon) statusSeenBy(r *reader) (s status) {
	d.t.Helper()
	text := must(r.read(d.at(".modelfs/status.json")))(d.t)
	if err := json.Unmarshal(text, &s); err != nil {
		d.t.Fatalf("status.json: %v\n%s", err, text)
	}
	return s
}

// of returns one model of the status.
// has says whether a model is known.
func (s status) has(name string) bool {
	return slices.ContainsFunc(s.Models, func(m modelStatus) bool { return m.Name == name })
}

func (s status) of(t testing.TB, name string) modelStatus {
	t.Helper()
	for _, m := range s.Models {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("status.json has no model %s", name)
	return modelStatus{}
}

// resident says whether a model is.
func (d *daemon) resident(name string) bool {
	d.t.Helper()
	return d.status().of(d.t, name).State == "resident"
}

// metrics are the sums over the labels, by name; of a name with {op="read"} the
// one with that label.
func (d *daemon) metrics() map[string]float64 {
	d.t.Helper()
	text := must(d.read(d.at(".modelfs/metrics")))(d.t)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		d.t.Fatalf("metrics: %v\n%s", err, text)
	}
	sums := map[string]float64{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue()
			sums[name] += v
			for _, l := range m.GetLabel() {
				sums[name+"{"+l.GetName()+"="+strconv.Quote(l.GetValue())+"}"] += v
			}
		}
	}
	return sums
}

const readRequests = `modelfs_fuse_requests_total{op="read"}`

// readsDuring counts the READs of the kernel that reach the daemon while f runs,
// less those that reading the metrics costs itself.
func (d *daemon) readsDuring(f func()) int {
	d.t.Helper()
	a := d.metrics()[readRequests]
	b := d.metrics()[readRequests]
	f()
	c := d.metrics()[readRequests]
	return int(c - b - (b - a))
}

// processIO is what a process has read from disks (read_bytes) and by system
// calls of any kind (rchar).
func processIO(t testing.TB, pid int) (disk, calls int64) {
	t.Helper()
	number := func(text string) int64 { return must(strconv.ParseInt(strings.TrimSpace(text), 10, 64))(t) }
	for line := range strings.Lines(string(must(os.ReadFile("/proc/" + strconv.Itoa(pid) + "/io"))(t))) {
		if rest, ok := strings.CutPrefix(line, "read_bytes:"); ok {
			disk = number(rest)
		}
		if rest, ok := strings.CutPrefix(line, "rchar:"); ok {
			calls = number(rest)
		}
	}
	return disk, calls
}

// tmpfsUsed is what the kernel charges to the daemon's own tmpfs, found in the
// mount table; ok is false where segments are memfds.
func (d *daemon) tmpfsUsed() (bytes int64, ok bool) {
	d.t.Helper()
	name := strings.Trim(strings.ReplaceAll(d.mount, "/", "-"), "-")
	for _, line := range mountTable(d.t) {
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasPrefix(fields[4], "/run/modelfs/") || !strings.Contains(fields[4], name) {
			continue
		}
		var st unix.Statfs_t
		if err := unix.Statfs(fields[4], &st); err != nil {
			d.t.Fatal(err)
		}
		return int64(st.Blocks-st.Bfree) * st.Bsize, true
	}
	return 0, false
}
