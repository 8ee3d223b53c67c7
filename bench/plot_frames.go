// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	framesWidth  = 680
	framesHeight = 330
	framesNames  = 170 // room for them, right of the lines
)

// curve is what one contender took for each size.
type curve struct {
	name   string
	ink    color.Color
	points plotter.XYs
	goal   bool // a line that is wanted
}

// framePlot is the latency of a frame against its size.
func (r report) framePlot() (picture, bool) {
	curves := r.frameCurves()
	p := picture{name: "frames.svg", title: "A frame from one process to another", width: framesWidth, height: framesHeight}
	p.draw = func(c draw.Canvas) { drawFrames(c, p.title, curves) }
	return p, len(curves) > 0
}

// frameCurves has modelfs first.
func (r report) frameCurves() []curve {
	others := []color.Color{orange, grey, color.RGBA{R: 0x7a, G: 0x4f, B: 0xa3, A: 0xff}, color.RGBA{R: 0x3a, G: 0x8f, B: 0x5a, A: 0xff}}
	var curves []curve
	wanted := curve{ink: black, goal: true}
	add := func(name string, size int64, took float64) {
		at := slices.IndexFunc(curves, func(c curve) bool { return c.name == name })
		if at < 0 {
			at = len(curves)
			ink := color.Color(blue)
			if at > 0 {
				ink = others[(at-1)%len(others)]
			}
			curves = append(curves, curve{name: name, ink: ink})
		}
		curves[at].points = append(curves[at].points, plotter.XY{X: float64(size), Y: took})
	}
	for _, line := range r.Results {
		switch {
		case line.Size == 0:
		case line.Peer != nil:
			name, _, _ := strings.Cut(line.PeerName, ",")
			name, _, _ = strings.Cut(name, " (")
			add(name, line.Size, line.Peer.Median)
		case line.PeerName == "":
			add("modelfs", line.Size, line.Ours.Median)
			if line.Reach != nil {
				wanted.name = "goal: " + line.Goal
				wanted.points = append(wanted.points, plotter.XY{X: float64(line.Size), Y: line.Reach.Median * line.Ours.Median})
			}
		}
	}
	if len(wanted.points) > 0 {
		curves = append(curves, wanted)
	}
	return curves
}

func drawFrames(c draw.Canvas, title string, curves []curve) {
	c.FillText(letters(13, black, true), vg.Point{X: 10, Y: c.Max.Y - 16}, title)
	c.FillText(letters(9, grey, false), vg.Point{X: 10, Y: c.Max.Y - 32}, "From the last byte written until the consumer has an array of it; lower is better. Both axes are logarithmic.")
	p := plot.New()
	p.BackgroundColor = white
	axis := letters(9, grey, false)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Scale = plot.LogScale{}
		a.Width, a.Tick.Width, a.Padding = 0, 0, 8
		a.Tick.Label.Font, a.Tick.Label.Color = axis.Font, grey
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = decades(memory), decades(seconds)
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = light, light
	p.Add(grid)
	for _, k := range curves {
		l, s, err := plotter.NewLinePoints(k.points)
		if err != nil { // a figure that is no number
			continue
		}
		l.Color, l.Width = k.ink, 1.5
		s.Color, s.Radius, s.Shape = k.ink, 2.5, draw.CircleGlyph{}
		if k.goal {
			l.Width, l.Dashes, s.Radius = 0.75, []vg.Length{4, 3}, 0
		}
		p.Add(l, s)
	}
	p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(p.Y.Min))), math.Pow(10, math.Ceil(math.Log10(p.Y.Max)))
	area := draw.Crop(c, 10, -framesNames, 10, -50)
	p.Draw(area)
	nameCurves(p.DataCanvas(area), p, curves)
}

// nameCurves writes each name where its line ends, one above the other.
func nameCurves(area draw.Canvas, p *plot.Plot, curves []curve) {
	const apart = 12
	end := func(k curve) vg.Length { return area.Y(p.Y.Norm(k.points[len(k.points)-1].Y)) }
	sorted := slices.SortedFunc(slices.Values(curves), func(a, b curve) int { return cmp.Compare(end(a), end(b)) })
	below := area.Min.Y - apart
	for _, k := range sorted {
		y := max(end(k), below+apart)
		below = y
		style := letters(9, k.ink, false)
		style.YAlign = text.YCenter
		area.FillText(style, vg.Point{X: area.Max.X + 8, Y: y}, fit(style, k.name, framesNames-12))
	}
}

// decades are ticks at the powers of ten, with the words of a unit.
func decades(u unit) plot.TickerFunc {
	return func(least, most float64) []plot.Tick {
		var ticks []plot.Tick
		for v := math.Pow(10, math.Floor(math.Log10(least))); v <= most*1.01; v *= 10 {
			if v >= least*0.99 {
				ticks = append(ticks, plot.Tick{Value: v, Label: u.format(v)})
			}
		}
		return ticks
	}
}
