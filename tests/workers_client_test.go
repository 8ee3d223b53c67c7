// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"context"
	"os"
	"testing"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/modelfs/modelfs/tests/internal/weights"
	"github.com/modelfs/modelfs/workers/client"
)

// TestGoClient: the Go client finds the server in the mount, and names files of a session
// as inputs and as the place of outputs. The control: a file that is not there.
func TestGoClient(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start()
		d.serve([]string{"echo=served_models:Echo"})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c := must(client.Dial(ctx, client.Options{Mount: d.mount, Model: "echo"}))(t)
		defer c.Close()
		if err := c.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
		content := weights.Pattern(1, small)
		d.shell("mkdir " + d.at("sessions/go"))
		defer d.shell("rm -r " + d.at("sessions/go"))
		for _, name := range []string{"in", "out"} {
			f := must(os.OpenFile(d.at("sessions/go", name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600))(t)
			if err := f.Truncate(small); err != nil {
				t.Fatal(err)
			}
			if name == "in" {
				must(f.WriteAt(content, 0))(t)
			}
			_ = f.Close()
		}
		in := client.Tensor{Name: "x", Datatype: "UINT8", Shape: []int64{small - 10}, Path: "sessions/go/in", Offset: 10}
		r := must(c.Infer(ctx, &client.Request{Inputs: []client.Tensor{in}}))(t)
		if !bytes.Equal(r.Output("x").Bytes(), content[10:]) {
			t.Error("what came back is not the file")
		}
		r.Free()
		r = must(c.Infer(ctx, &client.Request{Inputs: []client.Tensor{in}, Outputs: []client.Output{{Name: "x", Path: "sessions/go/out", Offset: 10}}}))(t)
		if x := r.Output("x"); x.Path != "sessions/go/out" || x.Offset != 10 || x.Size != small-10 || len(x.Pieces) > 0 {
			t.Errorf("it says that the output is at %+v", x)
		}
		if got := must(d.read(d.at("sessions/go/out")))(t); !bytes.Equal(got[10:], content[10:]) || !bytes.Equal(got[:10], make([]byte, 10)) {
			t.Error("the output is not in the file")
		}
		in.Path = "sessions/go/nothing"
		if _, err := c.Infer(ctx, &client.Request{Inputs: []client.Tensor{in}}); grpcstatus.Code(err) != codes.NotFound {
			t.Errorf("a file that is not there: %v", err)
		}
	}, normal, noPassthrough)
}
