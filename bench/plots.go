// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// picture is a plot of some of a report's figures.
type picture struct {
	name, title   string
	width, height vg.Length
	draw          func(draw.Canvas)
}

// plots lists those for which the report has figures.
func (r report) plots() []picture {
	var all []picture
	if p, ok := r.goalPlot(); ok {
		all = append(all, p)
	}
	if p, ok := r.framePlot(); ok {
		all = append(all, p)
	}
	return all
}

// plot draws them all into a folder.
func (r report) plot(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range r.plots() {
		if err := writeWhole(filepath.Join(dir, p.name), p.svg()); err != nil {
			return err
		}
	}
	return nil
}

func (p picture) svg() string {
	canvas := vgsvg.New(p.width, p.height)
	c := draw.New(canvas)
	rectangle(c, white, c.Min.X, c.Min.Y, c.Max.X, c.Max.Y) // pages are dark, too
	p.draw(c)
	var b strings.Builder
	_, _ = canvas.WriteTo(&b) // a strings.Builder does not fail
	// The letters are measured as those of Liberation Sans. Where there is none, Arial
	// and Helvetica are as wide.
	return strings.ReplaceAll(b.String(), "font-family:Liberation Sans;", "font-family:Liberation Sans,Arial,Helvetica,sans-serif;")
}

// Blue and orange are told apart by everybody.
var (
	white  = color.Gray{255}
	light  = color.Gray{225}
	grey   = color.Gray{110}
	black  = color.Gray{30}
	blue   = color.RGBA{R: 0x2b, G: 0x7b, B: 0xba, A: 0xff}
	orange = color.RGBA{R: 0xe0, G: 0x7b, B: 0x1a, A: 0xff}
)

// letters are of one size and colour, set from the left.
func letters(size vg.Length, c color.Color, bold bool) text.Style {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
	if bold {
		f.Weight = 2 // font.WeightSemiBold is one that Liberation does not have
	}
	return text.Style{Color: c, Font: f, XAlign: text.XLeft, YAlign: text.YCenter, Handler: plot.DefaultTextHandler}
}

// fit cuts a text to a width.
func fit(s text.Style, words string, width vg.Length) string {
	cut := words
	for n := len([]rune(words)) - 1; s.Width(cut) > width && n > 0; n-- {
		cut = strings.TrimRight(string([]rune(words)[:n]), " ,(") + "…"
	}
	return cut
}

func rectangle(c draw.Canvas, fill color.Color, x0, y0, x1, y1 vg.Length) {
	c.FillPolygon(fill, []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
}

func line(c draw.Canvas, ink color.Color, width vg.Length, points ...vg.Point) {
	c.StrokeLines(draw.LineStyle{Color: ink, Width: width}, points)
}

// times writes a factor: two digits that count.
func times(v float64) string {
	if v >= 10 {
		return fmt.Sprintf("%.0f×", v)
	}
	return fmt.Sprintf("%.2g×", v)
}
