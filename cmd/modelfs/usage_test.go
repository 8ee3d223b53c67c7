// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"mount", "umount", "ls", "load", "evict", "openai/whisper-base", "silero-vad"}
	for _, test := range []struct{ written, want string }{
		{"moutn", "mount"}, {"Mount", "mount"}, {"unmount", "umount"}, {"evcit", "evict"}, {"lod", "load"},
		{"whisper-base", "openai/whisper-base"}, {"silero", "silero-vad"}, {"silerovad", "silero-vad"},
		{"banana", ""}, {"", ""}, {"x", ""},
	} {
		if got := nearest(test.written, names); got != test.want {
			t.Errorf("nearest(%q) = %q, want %q", test.written, got, test.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"lru", "lur", 1}, {"kitten", "sitting", 3}, {"é", "e", 1}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
