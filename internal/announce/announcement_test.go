// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func example() *Announcement {
	return &Announcement{
		PID: 7, Listen: []string{"unix:/run/a b.sock", "127.0.0.1:8001", "[::1]:8001"}, HTTP: "127.0.0.1:8002",
		Models:    []Model{{"a", "1", "READY", ""}, {"org/b", "2", "UNAVAILABLE", "it died 5 times"}},
		StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func TestParse(t *testing.T) {
	b, err := json.Marshal(example())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(b)
	if err != nil || !reflect.DeepEqual(got, example()) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Parse([]byte(strings.Replace(string(b), `{`, `{"new": {"x": 1},`, 1))); err != nil {
		t.Errorf("with something that is not known: %v", err)
	}
	with := func(old, new string) string {
		s := strings.Replace(string(b), old, new, 1)
		if s == string(b) {
			t.Fatalf("%s has no %s", b, old)
		}
		return s
	}
	for _, s := range []string{
		"", "null", "[]", "{}", string(b[:len(b)-1]), string(b) + "{}", string(b) + "x",
		with(`"pid":7`, `"pid":-7`), with(`"pid":7`, `"pid":7.5`), with(`"pid":7`, `"pid":1e99`),
		with("unix:/run", "unix:run"), with("unix:/run", `unix:/run\u0000`), with("127.0.0.1:8001", "127.0.0.1"), with("127.0.0.1:8002", "x"),
		with("READY", "FINE"), with(`"name":"a"`, `"name":""`), with("2026-01-02T", "0001-13-02T"),
		with(`"reason":""`, `"reason":"`+strings.Repeat("x", Most)+`"`),
	} {
		if _, err := Parse([]byte(s)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.200s: %v", s, err)
		}
	}
}

// FuzzParse: what is taken can be written and is taken again.
func FuzzParse(f *testing.F) {
	b, err := json.Marshal(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Parse(b)
		if err != nil {
			return
		}
		out, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Parse(out); len(out) <= Most && (err != nil || !reflect.DeepEqual(again, a)) {
			t.Errorf("%s is read as %+v, %v", out, again, err)
		}
	})
}
