// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestPin(t *testing.T) {
	f := newFixture(t)
	if got := f.succeed(t, "pin", "openai/whisper-base"); got != "pinned openai/whisper-base\n" {
		t.Error(got)
	}
	if got := f.succeed(t, "unpin", "silero-vad"); got != "unpinned silero-vad\n" {
		t.Error(got)
	}
	want := []string{"openai/whisper-base pinned=1", "silero-vad pinned=0"}
	if !slices.Equal(f.attributes.sets, want) {
		t.Errorf("set %q, want %q", f.attributes.sets, want)
	}
	if got := f.fail(t, 1, "pin", "openai/whisper-base/model.safetensors"); !strings.Contains(got, "name the model") {
		t.Error(got)
	}
	// The mount's owner goes by models/ where the folder is another's.
	f.attributes.fails["silero-vad pinned"] = syscall.EACCES
	f.attributes.sets = nil
	if got := f.succeed(t, "pin", "silero-vad"); got != "pinned silero-vad\n" {
		t.Error(got)
	}
	if want := []string{"silero-vad pinned=1", ". pinned=1:silero-vad"}; !slices.Equal(f.attributes.sets, want) {
		t.Errorf("set %q, want %q", f.attributes.sets, want)
	}
	f.attributes.fails[". pinned"] = syscall.EACCES
	if got := f.fail(t, 1, "pin", "silero-vad"); !strings.Contains(got, "pin silero-vad: permission denied: only who") {
		t.Error(got)
	}
}
