// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// statusReport is .modelfs/status.json, as far as the commands need it. It is
// read as a document, not shared as a Go type: the daemon may be of another
// version.
type statusReport struct {
	Version       string  `json:"version"`
	Mount         string  `json:"mount"`
	PID           int     `json:"pid"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	Memory        struct {
		Budget              int64 `json:"budget_bytes"`
		Resident            int64 `json:"resident_bytes"`
		MappedAfterEviction int64 `json:"mapped_after_eviction_bytes"`
		Session             int64 `json:"session_bytes"`
	} `json:"memory"`
	DataPath struct {
		Passthrough bool   `json:"passthrough"`
		HugePages   bool   `json:"hugepages"`
		Reason      string `json:"reason"`
	} `json:"data_path"`
	Models   []modelReport `json:"models"`
	Counters struct {
		Hits          int64 `json:"hits"`
		Misses        int64 `json:"misses"`
		Loads         int64 `json:"loads"`
		LoadFailures  int64 `json:"load_failures"`
		Evictions     int64 `json:"evictions"`
		FallbackOpens int64 `json:"fallback_opens"`
	} `json:"counters"`
	Sources []struct {
		Spec string `json:"spec"`
		Kind string `json:"kind"`
	} `json:"sources"`
	Shadowed []string `json:"shadowed"`
}

// modelReport is one of its models.
type modelReport struct {
	Name       string     `json:"name"`
	State      string     `json:"state"`
	Refs       int        `json:"refs"`
	Bytes      int64      `json:"bytes"`
	Resident   int64      `json:"resident_bytes"`
	LastUsedAt *time.Time `json:"last_used_at"`
	Loads      int64      `json:"loads"`
	Pinned     bool       `json:"pinned"`
	TTLSeconds float64    `json:"ttl_seconds"`
	Error      *string    `json:"error"`
}

// useReport is one entry of .modelfs/ps.json.
type useReport struct {
	PID     int    `json:"pid"`
	UID     int    `json:"uid"`
	Command string `json:"command"`
	Model   string `json:"model"`
	Mapped  int64  `json:"mapped_bytes"`
	Alone   int64  `json:"alone_bytes"`
}

// readReport reads one file of .modelfs and decodes it.
func readReport(mount, name string, into any) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(mount, ".modelfs", name))
	if err != nil {
		return nil, explainMount(mount, err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return nil, fmt.Errorf("%s/.modelfs/%s is not what modelfs writes (%v): is the daemon of another version?", mount, name, err)
	}
	return text, nil
}

// readStatus reads status.json.
func readStatus(mount string) (*statusReport, error) {
	s := &statusReport{}
	_, err := readReport(mount, "status.json", s)
	return s, err
}

// readUses reads ps.json, of one model or, with "", of all.
func readUses(mount, model string) ([]useReport, error) {
	var all, some []useReport
	if _, err := readReport(mount, "ps.json", &all); err != nil {
		return nil, err
	}
	for _, u := range all {
		if model == "" || u.Model == model {
			some = append(some, u)
		}
	}
	return some, nil
}
