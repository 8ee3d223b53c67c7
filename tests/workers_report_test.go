// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelfs/modelfs/internal/announce"
)

// AnnounceArgs say what to announce in which session.
type AnnounceArgs struct {
	Session string // its folder
	Models  []announce.Model
	Text    []byte // instead, as it is
}

// Announce makes a session, if it is not there, and announces workers in it, until the
// process ends.
func (r *reading) Announce(a AnnounceArgs, _ *None) error {
	if err := os.Mkdir(a.Session, 0o700); err != nil && !os.IsExist(err) {
		return coded(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(a.Text) > 0 {
		f, err := os.OpenFile(filepath.Join(a.Session, announce.File), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return coded(err)
		}
		r.announced = append(r.announced, f)
		_, err = f.Write(a.Text)
		return coded(err)
	}
	text, err := json.Marshal(announce.Announcement{
		PID: os.Getpid(), Listen: []string{"unix:/run/m.sock", "127.0.0.1:8001"}, Models: a.Models, StartedAt: time.Now(),
	})
	if err != nil {
		return err
	}
	next := filepath.Join(a.Session, announce.File+".new")
	f, err := os.OpenFile(next, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return coded(err)
	}
	r.announced = append(r.announced, f)
	if _, err := f.Write(text); err != nil {
		return coded(err)
	}
	return coded(os.Rename(next, filepath.Join(a.Session, announce.File)))
}

func (r *reader) announce(a AnnounceArgs) error {
	_, err := call[AnnounceArgs, None](r, "Announce", a)
	return err
}

// workersSeenBy are the entries of workers.json.
func (d *daemon) workersSeenBy(r *reader) []announce.Worker {
	d.t.Helper()
	var w announce.Workers
	if err := json.Unmarshal(must(r.read(d.at(".modelfs/workers.json")))(d.t), &w); err != nil {
		d.t.Fatal(err)
	}
	return w.Workers
}

// TestWorkers: what a server announces is listed with the user whose session it is,
// changes when it says something else, and is gone when the server is, however it went.
func TestWorkers(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start()
		if got := must(d.read(d.at(".modelfs/workers.json")))(t); string(got) != "{\n  \"workers\": []\n}\n" {
			t.Errorf("at first it is %q", got)
		}
		server := startReader(t, m.uid)
		session := d.at("sessions/serve-1")
		for _, models := range [][]announce.Model{
			{{Name: "a", Version: "1", State: "LOADING"}},
			{{Name: "a", Version: "1", State: "READY"}, {Name: "b", Version: "1", State: "UNAVAILABLE", Reason: "it died"}},
			{},
		} {
			if err := server.announce(AnnounceArgs{Session: session, Models: models}); err != nil {
				t.Fatal(err)
			}
			got := d.workersSeenBy(d.reader)
			if len(got) != 1 {
				t.Fatalf("there are %+v", got)
			}
			w := got[0]
			if w.Session != "serve-1" || int(w.UID) != m.uid || w.PID != server.pid() || !slices.Equal(w.Models, models) ||
				!slices.Equal(w.Listen, []string{"unix:/run/m.sock", "127.0.0.1:8001"}) || time.Since(w.StartedAt) > time.Hour {
				t.Errorf("got %+v, want the models %v of %d", w, models, server.pid())
			}
		}
		second := startReader(t, m.uid)
		if err := second.announce(AnnounceArgs{Session: d.at("sessions/serve-2")}); err != nil {
			t.Fatal(err)
		}
		if got := d.workersSeenBy(d.reader); len(got) != 2 || got[1].Session != "serve-2" {
			t.Errorf("there are %+v", got)
		}
		server.kill()
		eventually(t, patience, "the killed server is not listed", func() bool {
			got := d.workersSeenBy(d.reader)
			return len(got) == 1 && got[0].Session == "serve-2"
		})
		if _, err := d.stat(filepath.Join(session, announce.File)); err != nil {
			t.Errorf("the control: its file is there: %v", err)
		}
		second.kill()
		eventually(t, patience, "nobody is listed", func() bool { return len(d.workersSeenBy(d.reader)) == 0 })
		d.shell("rm -r " + d.at("sessions/serve-1") + " " + d.at("sessions/serve-2"))
	})
}

// TestMalformedWorkers: what is no announcement is left out, the others are there, and
// the log says so once, however often somebody reads.
func TestMalformedWorkers(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start()
		server := startReader(t, m.uid)
		good := fmt.Sprintf(`{"pid": %d, "listen": ["unix:/s"], "models": [{"name": "a", "state": "READY"}], "started_at": "2026-01-02T03:04:05Z"}`, server.pid())
		for i, text := range []string{good, "{", strings.Replace(good, "unix:/s", "unix:s", 1), good + strings.Repeat(" ", announce.Most), "\x00\xff"} {
			if err := server.announce(AnnounceArgs{Session: d.at("sessions", fmt.Sprint("s", i)), Text: []byte(text)}); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			if got := d.workersSeenBy(d.reader); len(got) != 1 || got[0].Session != "s0" {
				t.Errorf("there are %+v", got)
			}
		}
		if n := strings.Count(d.log.String(), "announces no workers"); n != 4 {
			t.Errorf("the log complains %d times, want 4:\n%s", n, d.log.String())
		}
		server.kill()
		d.shell("rm -r " + d.at("sessions/s?"))
	})
}

// TestWorkersOfOthers: a server of root and one's own are always listed, another user's
// if one may enter its session; and nobody announces in another's name.
// The controls: root sees all of them, and so does their owner.
func TestWorkersOfOthers(t *testing.T) {
	modes(t, func(t *testing.T, m mode) {
		p := newPlace(t, m)
		d := p.start("--allow-other")
		root, a, b := startReader(t, 0), startReader(t, alice), startReader(t, bob)
		for _, s := range []struct {
			by   *reader
			name string
			mode os.FileMode
		}{{root, "root", 0o700}, {a, "closed", 0o700}, {a, "open", 0o755}, {b, "his", 0o700}} {
			if err := s.by.announce(AnnounceArgs{Session: d.at("sessions", s.name)}); err != nil {
				t.Fatal(err)
			}
			d.shell(fmt.Sprintf("chmod %o %s", s.mode, d.at("sessions", s.name)))
		}
		// bob's announcement in alice's folder, and one of hers that he may write.
		shared, loose := d.at("sessions/shared"), d.at("sessions/loose")
		line := fmt.Sprintf("mkdir -m 1777 %[1]s && mkdir -m 755 %[2]s && touch %[2]s/%[3]s && chmod 666 %[2]s/%[3]s", shared, loose, announce.File)
		if out, err := d.shellAs(alice, line); err != nil {
			t.Fatal(err, out)
		}
		good := `{"pid": 1, "listen": ["unix:/s"], "models": [], "started_at": "2026-01-02T03:04:05Z"}`
		for _, folder := range []string{shared, loose} {
			if err := b.announce(AnnounceArgs{Session: folder, Text: []byte(good)}); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			by   *reader
			want map[string]uint32
		}{
			{root, map[string]uint32{"closed": alice, "his": bob, "open": alice, "root": 0}},
			{a, map[string]uint32{"closed": alice, "open": alice, "root": 0}},
			{b, map[string]uint32{"his": bob, "open": alice, "root": 0}},
		} {
			got := map[string]uint32{}
			for _, w := range d.workersSeenBy(c.by) {
				got[w.Session] = w.UID
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("sees %v, want %v", got, c.want)
			}
		}
		for _, r := range []*reader{root, a, b} {
			r.kill()
		}
		d.shell("rm -r " + d.at("sessions/*"))
	}, normal, noPassthrough)
}
