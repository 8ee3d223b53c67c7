// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"bytes"
	"context"

	"github.com/modelfs/modelfs/fs"
)

// reportFolder is .modelfs: what the daemon says of itself.
type reportFolder struct{ t *Tree }

var _ fs.Folder = (*reportFolder)(nil)

func (r *reportFolder) Attr(context.Context) (fs.Attr, error) { return r.t.own(0o755), nil }

func (r *reportFolder) Generation() uint64 { return 0 }

// reports lists the files of .modelfs.
var reports = fixed{{Name: "status.json"}, {Name: "ps.json"}, {Name: "workers.json"}, {Name: "metrics"}}

func (r *reportFolder) Lookup(_ context.Context, name string) (fs.Entry, error) {
	for _, e := range reports {
		if e.Name == name {
			return &report{t: r.t, name: name}, nil
		}
	}
	return nil, fs.ErrNotExist
}

func (r *reportFolder) OpenDir(context.Context, fs.Caller, bool) (fs.DirHandle, error) {
	return reports, nil
}

// report is one file whose text is made at each open, for the caller.
type report struct {
	t    *Tree
	name string
}

var _ fs.File = (*report)(nil)

func (r *report) Attr(context.Context) (fs.Attr, error) { return r.t.own(0o444), nil }

func (r *report) Generation() uint64 { return 0 }

func (r *report) Open(ctx context.Context, c fs.Caller, _ bool) (fs.Content, error) {
	var b []byte
	var err error
	switch r.name {
	case "status.json":
		b, err = r.t.reports.Status(ctx, accessOf(c))
	case "ps.json":
		b, err = r.t.reports.Processes(ctx, accessOf(c))
	case "workers.json":
		b, err = r.t.reports.Workers(ctx, accessOf(c))
	case "metrics":
		b, err = r.t.reports.Metrics(ctx)
	}
	if err != nil {
		return nil, fail(err)
	}
	return stream{bytes.NewReader(b)}, nil
}

// stream is text in the daemon's memory, whose size stat does not know.
type stream struct{ *bytes.Reader }

func (stream) Close() {}

func (stream) Streamed() {}

var _ fs.Stream = stream{}
