// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package loaders

import "strings"

// Table is the table of formats in docs/formats.md, as Markdown.
func Table() string {
	rows := [][]string{{"format", "files", "versions and forms", "in place", "made when it is loaded", "refused"}}
	for i := range formats {
		f := &formats[i]
		rows = append(rows, []string{f.Name, f.files(), f.Facts.Versions, f.Facts.InPlace, f.Facts.Made, f.Facts.Refused})
	}
	return markdown(rows)
}

// ShortTable is the one in README.md.
func ShortTable() string {
	rows := [][]string{{"format", "files", "tensors"}}
	for i := range formats {
		f := &formats[i]
		how := "not shown: " + f.Facts.Refused
		if f.Parse != nil {
			how = "in place: " + f.Facts.InPlace
			if f.Facts.Made != "" {
				how += "; made: " + f.Facts.Made
			}
		}
		rows = append(rows, []string{f.Name, f.files(), how})
	}
	return markdown(rows)
}

// files are a format's extensions.
func (f *Format) files() string { return "`" + strings.Join(f.Extensions, "` `") + "`" }

// markdown writes a table whose first row is its head. An empty cell is a dash.
func markdown(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		for _, cell := range row {
			if cell == "" {
				cell = "-"
			}
			b.WriteString("| " + strings.ReplaceAll(cell, "|", `\|`) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString(strings.Repeat("| --- ", len(row)) + "|\n")
		}
	}
	return b.String()
}
