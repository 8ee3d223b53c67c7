// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/internal/models"
)

// Status is status.json.
type Status struct {
	Version       string          `json:"version"`
	Mount         string          `json:"mount"`
	PID           int             `json:"pid"`
	UptimeSeconds float64         `json:"uptime_seconds"`
	Memory        Memory          `json:"memory"`
	DataPath      DataPath        `json:"data_path"`
	Models        []models.Status `json:"models"`
	Counters      Counters        `json:"counters"`
	Sources       []SourceStatus  `json:"sources"`
	Shadowed      []string        `json:"shadowed"`
	LastEvictions []Eviction      `json:"last_evictions"`
	Configuration Configuration   `json:"configuration"`
}

// Configuration is what the mount was started with; sizes are bytes, 0 is no limit.
type Configuration struct {
	Policy            Policy     `json:"policy"`
	TTLSeconds        float64    `json:"ttl_seconds"`
	MaxModels         int        `json:"max_models"`
	OverBudget        OverBudget `json:"over_budget"`
	SessionQuota      int64      `json:"session_quota_bytes"`
	SessionTTLSeconds float64    `json:"session_ttl_seconds"`
}

// Memory is where the memory is; all in bytes.
type Memory struct {
	Budget              int64 `json:"budget_bytes"`
	Resident            int64 `json:"resident_bytes"`
	MappedAfterEviction int64 `json:"mapped_after_eviction_bytes"`
	Session             int64 `json:"session_bytes"`
}

// DataPath says how bytes reach a reader. Reason says why something is off.
type DataPath struct {
	Passthrough bool   `json:"passthrough"`
	HugePages   bool   `json:"hugepages"`
	Reason      string `json:"reason"`
}

// Counters count segments: a weight file or a tensor each.
type Counters struct {
	Hits          int64 `json:"hits"`
	Misses        int64 `json:"misses"`
	Loads         int64 `json:"loads"`
	LoadFailures  int64 `json:"load_failures"`
	Evictions     int64 `json:"evictions"`
	FallbackOpens int64 `json:"fallback_opens"`
}

// SourceStatus is one place where models lie.
type SourceStatus struct {
	Spec string `json:"spec"`
	Kind string `json:"kind"`
}

// Eviction is one decision to free a segment, and why.
type Eviction struct {
	At     time.Time `json:"at"`
	Part   string    `json:"part"`
	Bytes  int64     `json:"bytes"`
	Reason string    `json:"reason"`
}

// Status makes status.json with the models that its viewer may see.
func (d *Daemon) Status(ctx context.Context, viewer models.Viewer) ([]byte, error) {
	list := d.models.All(ctx, viewer) // before the numbers: what it finds gone is let go of
	stats := d.cache.Registry().Stats()
	s := Status{
		Version:       d.cfg.Version,
		Mount:         d.cfg.MountPoint,
		PID:           os.Getpid(),
		UptimeSeconds: time.Since(d.started).Seconds(),
		Memory: Memory{
			Budget:              d.cfg.Memory,
			Resident:            stats.Resident,
			MappedAfterEviction: stats.Lingering + d.areas.lingering(),
			Session:             d.areas.Sessions.Bytes(),
		},
		DataPath: d.dataPath(),
		Models:   list,
		Counters: Counters{
			Hits: stats.Hits, Misses: stats.Misses, Loads: stats.Loads,
			LoadFailures: stats.LoadFailures, Evictions: stats.EvictionsTotal(),
			FallbackOpens: d.cache.Fallbacks(),
		},
		Shadowed:      append([]string{}, d.catalog.Shadowed()...), // [], never null
		LastEvictions: []Eviction{},
		Configuration: Configuration{
			Policy: d.cfg.Policy, TTLSeconds: d.cfg.TTL.Seconds(), MaxModels: d.cfg.MaxModels, OverBudget: d.cfg.OverBudget,
			SessionQuota: d.cfg.SessionQuota, SessionTTLSeconds: d.cfg.SessionTTL.Seconds(),
		},
	}
	for _, src := range d.sources[:len(d.sources)-1] { // the last is what is published here
		s.Sources = append(s.Sources, SourceStatus{Spec: src.Spec(), Kind: src.Kind()})
	}
	for _, v := range d.cache.Registry().Victims() {
		if m, ok := d.catalog.Lookup(ctx, v.Key.Model); ok && viewer.Lists(ctx, m) {
			s.LastEvictions = append(s.LastEvictions, Eviction{At: v.At.UTC(), Part: v.Key.String(), Bytes: v.Bytes, Reason: v.Reason()})
		}
	}
	if s.Models == nil {
		s.Models = []models.Status{}
	}
	return document(s)
}

// Processes makes ps.json with the models that its viewer may see.
func (d *Daemon) Processes(ctx context.Context, viewer models.Viewer) ([]byte, error) {
	out := []models.Use{}
	d.models.Refresh()
	for _, u := range d.models.Uses(d.inodeBytes) {
		if m, ok := d.catalog.Lookup(ctx, u.Model); ok && viewer.Lists(ctx, m) {
			out = append(out, u)
		}
	}
	return document(out)
}

// Space is what df shows: the budget, and what of it is free.
func (d *Daemon) Space() fs.Space {
	stats := d.cache.Registry().Stats()
	free := d.cfg.Memory - stats.Resident - stats.Lingering - stats.Reserved - stats.Written
	return fs.Space{Total: uint64(d.cfg.Memory), Free: uint64(max(free, 0))}
}

func document(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("make report: %w", err)
	}
	return append(b, '\n'), nil
}
