// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	table := newTable("NAME", ">SIZE", "NOTE")
	table.add("a", "1", "")
	table.add("größer", "1000", "x")
	table.add("\x1b[2J\xff", "5", "é")
	var b strings.Builder
	if err := table.print(&b); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"NAME         SIZE  NOTE\n" +
		"a               1\n" +
		"größer       1000  x\n" +
		"\\x1b[2J\\xff     5  é\n"
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}
