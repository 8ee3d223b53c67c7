// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHasSysAdmin(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tx\nCapEff:\t000001ffffffffff\n":                  true,
		"CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000000\n": false,
		"CapEff:\t0000000000200000\n":                            true,
		"CapEff:\tnonsense\n":                                    false,
		"":                                                       false,
	} {
		if got := hasSysAdmin(status); got != want {
			t.Errorf("hasSysAdmin(%q) = %v", status, got)
		}
	}
}

func TestChosen(t *testing.T) {
	for text, want := range map[string]string{"always within_size advise [never] deny force\n": "never", "[always]": "always", "": "", "x": ""} {
		if got := chosen(text); got != want {
			t.Errorf("chosen(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestKernelVersion(t *testing.T) {
	for _, test := range []struct {
		have kernelVersion
		want bool
	}{{kernelVersion{6, 9}, true}, {kernelVersion{6, 18}, true}, {kernelVersion{7, 0}, true}, {kernelVersion{6, 8}, false}, {kernelVersion{5, 99}, false}} {
		if got := test.have.atLeast(6, 9); got != test.want {
			t.Errorf("%v at least 6.9: %v", test.have, got)
		}
	}
}

func TestOpenDevice(t *testing.T) {
	if _, err := openDevice("/nonexistent"); err != errNoDevice {
		t.Errorf("got %v", err)
	}
	path := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if mode, err := openDevice(path); err != nil || mode != "-rw-r-----" {
		t.Errorf("got %v, %s", err, mode)
	}
}
