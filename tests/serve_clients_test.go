// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestForeignClients: programs in JavaScript and Java, made from the .proto files by the
// tools of their languages, get the same answers.
func TestForeignClients(t *testing.T) {
	p := newPlace(t, normal)
	d := p.start()
	s := d.serve([]string{"echo=served_models:Echo", "scale=served_models:Scale", "count=served_models:Count"}, "--max-batch", "4")
	protos := must(filepath.Abs("../workers/inference"))(t)
	built := must(filepath.Abs("../build/clients"))(t)
	t.Run("node", func(t *testing.T) {
		buildClient(t, "node", "node", "npm")
		for _, target := range []string{"unix:" + s.socket, s.tcp} {
			testForeignClient(t, exec.CommandContext(t.Context(), "node", "clients/node/client.mjs", target, protos, filepath.Join(built, "node")))
		}
	})
	t.Run("java", func(t *testing.T) {
		buildClient(t, "java", "java", "mvn")
		classes := filepath.Join(built, "java/classes") + ":" + filepath.Join(built, "java/lib/*")
		for _, target := range []string{"unix:" + s.socket, s.tcp} {
			testForeignClient(t, exec.CommandContext(t.Context(), "java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", classes, "modelfs.Client", target))
		}
	})
}

// buildClient has one of the clients installed and built, if the machine has the programs.
func buildClient(t *testing.T, name string, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			lacking(t, name, err.Error())
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "../scripts/clients", name).CombinedOutput(); err != nil {
		lacking(t, name, "scripts/clients "+name+": "+err.Error()+"\n"+tail(string(out), 4000))
	}
}

// foreign is what every client finds.
const foreign = `{
	"health": "SERVING", "health_unknown": "NOT_FOUND", "server": "modelfs", "ready": true,
	"inputs": ["x FP32 [-1,-1]"], "id": "7", "shape": [1, 3], "scaled": [4.5, -6, 9],
	"integers": ["-1", "9223372036854775807", "0"], "strings": ["", "é", "abc"], "typed": [0.5, -0.5],
	"no_model": "NOT_FOUND", "wrong_size": "INVALID_ARGUMENT", "stream": ["7:0", "7:1", "7:2", "7:3"]
}`

func testForeignClient(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Errorf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, tail(out.String(), 2000), tail(errOut.String(), 4000))
		return
	}
	var got, want map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if err := json.Unmarshal([]byte(foreign), &want); err != nil {
		t.Fatal(err)
	}
	for name := range want {
		if !reflect.DeepEqual(got[name], want[name]) {
			t.Errorf("%s: %s is %v, want %v", cmd.Args[0], name, got[name], want[name])
		}
	}
}
