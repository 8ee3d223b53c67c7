// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"path/filepath"
	"testing"
)

func TestNotifySystemd(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), "@modelfs-test-" + filepath.Base(t.TempDir())} {
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		if err := notifySystemd(name, "READY=1\nSTATUS=x"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		buf := make([]byte, 100)
		n, err := conn.Read(buf)
		if err != nil || string(buf[:n]) != "READY=1\nSTATUS=x" {
			t.Errorf("%s: got %q, %v", name, buf[:n], err)
		}
		conn.Close()
	}
	if err := notifySystemd("", "READY=1"); err != nil {
		t.Error(err)
	}
	if err := notifySystemd("/nonexistent", "READY=1"); err == nil {
		t.Error("nobody listens, and no error")
	}
}
