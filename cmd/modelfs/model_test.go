// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestResolve(t *testing.T) {
	f := newFixture(t)
	f.write(t, "models/openai/whisper-base/onnx/encoder.onnx", "x")
	for _, test := range []struct{ written, model, file, err string }{
		{written: "silero-vad", model: "silero-vad"},
		{written: "silero-vad/", model: "silero-vad"},
		{written: "openai/whisper-base", model: "openai/whisper-base"},
		{written: "openai/whisper-base/onnx/encoder.onnx", model: "openai/whisper-base", file: "onnx/encoder.onnx"},
		{written: "openai/whisper-base/no/such/file", model: "openai/whisper-base", file: "no/such/file"},
		{written: f.mount + "/models/silero-vad", model: "silero-vad"},
		{written: "openai", err: "no model \"openai\" in"},
		{written: "whisper-base", err: "did you mean openai/whisper-base?"},
		{written: "silero-vda", err: "did you mean silero-vad?"},
		{written: "xyzzy", err: "(modelfs ls shows the 4 that are there)"},
		{written: "", err: "is no model's name"},
		{written: "../models", err: "is no model's name"},
		{written: "/etc/passwd", err: "is no model's name"},
	} {
		got, err := f.resolve(f.mount, test.written)
		switch {
		case test.err != "":
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%q: %v, want an error with %q", test.written, err, test.err)
			}
		case err != nil || got.model != test.model || got.file != test.file:
			t.Errorf("%q: %+v, %v", test.written, got, err)
		}
	}
}

func TestResolveForbidden(t *testing.T) {
	f := newFixture(t)
	f.attributes.fails["silero-vad state"] = syscall.EACCES
	if _, err := f.resolve(f.mount, "silero-vad"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("got %v", err)
	}
	f.attributes.fails["silero-vad state"] = syscall.ENOTCONN
	if _, err := f.resolve(f.mount, "silero-vad"); err == nil || !strings.Contains(err.Error(), "died") {
		t.Errorf("got %v", err)
	}
}

// TestExplainTensors: a mount that lets somebody in and a model that does not.
func TestExplainTensors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{syscall.EACCES, "priv: permission denied: its files on disk are not readable for you either"},
		{syscall.ENOENT, "priv: it is not there any more"},
		{syscall.ENOTCONN, "died: modelfs umount"},
	} {
		got := explainTensors(t.TempDir(), "priv", &os.PathError{Op: "open", Path: "index.json", Err: c.err})
		if got == nil || !strings.Contains(got.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.err, got, c.want)
		}
	}
	if err := explainTensors(t.TempDir(), "priv", nil); err != nil {
		t.Error(err)
	}
}
