// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestEvict(t *testing.T) {
	f := newFixture(t)
	if got := f.succeed(t, "evict", "openai/whisper-base"); got != "evicted openai/whisper-base: 290 MiB freed\n" {
		t.Error(got)
	}
	if got := f.succeed(t, "evict", "silero-vad"); got != "silero-vad was not in memory\n" {
		t.Error(got)
	}
	if got := f.succeed(t, "evict", "--idle"); got != "0 B freed, 291 MiB resident\n" {
		t.Error(got)
	}
	f.succeed(t, "evict", "--all")
	want := []string{"openai/whisper-base evict=1", "silero-vad evict=1", ". evict=idle", ". evict=all"}
	if !slices.Equal(f.attributes.sets, want) {
		t.Errorf("set %q, want %q", f.attributes.sets, want)
	}
}

// TestEvictLoading: what loads is not evicted, and it says so.
func TestEvictLoading(t *testing.T) {
	f := newFixture(t)
	f.attributes.values["openai/whisper-base state"] = "loading"
	f.attributes.values["openai/whisper-base resident"] = "0"
	if got := f.fail(t, 1, "evict", "openai/whisper-base"); !strings.Contains(got, "openai/whisper-base is being loaded") {
		t.Error(got)
	}
}

// TestEvictInUse: it says who uses the model, and exits 1.
func TestEvictInUse(t *testing.T) {
	f := newFixture(t)
	f.attributes.fails["openai/whisper-base evict"] = syscall.EBUSY
	f.attributes.fails[". evict"] = syscall.EBUSY
	var b strings.Builder
	b.WriteString(f.fail(t, 1, "evict", "openai/whisper-base"))
	b.WriteString(f.fail(t, 1, "evict", "--all"))
	f.write(t, ".modelfs/ps.json", "[]")
	b.WriteString(f.fail(t, 1, "evict", "openai/whisper-base"))
	f.attributes.values["openai/whisper-base pinned"] = "1"
	b.WriteString(f.fail(t, 1, "evict", "openai/whisper-base"))
	golden(t, "evict_in_use", b.String())
}
