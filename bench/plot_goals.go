// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"

	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// The goals' plot: its words at the left, its bars at the right.
const (
	goalsWidth = 680
	goalsWords = 375
	goalsFit   = 325 // of the words: another sans-serif is wider
	goalsHead  = 58
	goalsFoot  = 24
	goalsRow   = 26
)

// goalPlot is a bar for each figure that has a goal: from the line of the goal to the
// right as far as it is more than met, to the left as far as it is missed.
func (r report) goalPlot() (picture, bool) {
	var rows []result
	for _, line := range r.Results {
		if line.Reach != nil {
			rows = append(rows, line)
		}
	}
	p := picture{
		name: "goals.svg", title: "How far each goal is met", width: goalsWidth,
		height: goalsHead + goalsFoot + goalsRow*vg.Length(len(rows)),
	}
	p.draw = func(c draw.Canvas) { drawGoals(c, p.title, rows) }
	return p, len(rows) > 0
}

func drawGoals(c draw.Canvas, title string, rows []result) {
	c.FillText(letters(13, black, true), vg.Point{X: 10, Y: c.Max.Y - 16}, title)
	c.FillText(letters(9, grey, false), vg.Point{X: 10, Y: c.Max.Y - 32}, "Longer to the right is better. The thin line is from the least to the most of the rounds.")
	axis := axisOf(rows, goalsWords+10, goalsWidth-44)
	top, bottom := c.Max.Y-goalsHead, vg.Length(goalsFoot)
	tick := letters(8, grey, false)
	tick.XAlign = text.XCenter
	for _, v := range []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 2, 5, 20, 100, 500} {
		if x := axis.at(v); axis.has(v) {
			line(c, light, 0.5, vg.Point{X: x, Y: bottom}, vg.Point{X: x, Y: top})
			c.FillText(tick, vg.Point{X: x, Y: top + 7}, times(v))
			c.FillText(tick, vg.Point{X: x, Y: bottom - 9}, times(v))
		}
	}
	for i, row := range rows {
		y := top - goalsRow*vg.Length(i)
		if i > 0 && row.Measurement != rows[i-1].Measurement {
			line(c, light, 0.5, vg.Point{X: 10, Y: y}, vg.Point{X: goalsWidth - 10, Y: y})
		}
		drawGoal(c, axis, row, y-goalsRow/2)
	}
	x := axis.at(1)
	line(c, black, 1, vg.Point{X: x, Y: bottom}, vg.Point{X: x, Y: top})
	tick.Color = black
	c.FillText(tick, vg.Point{X: x, Y: top + 7}, "goal")
	c.FillText(tick, vg.Point{X: x, Y: bottom - 9}, "goal")
}

func drawGoal(c draw.Canvas, axis logAxis, row result, y vg.Length) {
	head, below := letters(9, black, false), letters(8, grey, false)
	c.FillText(head, vg.Point{X: 10, Y: y + 5.5}, fit(head, row.What, goalsFit))
	c.FillText(below, vg.Point{X: 10, Y: y - 5.5}, fit(below, row.against(), goalsFit))
	ink := blue
	if !*row.Met {
		ink = orange
	}
	from, to := axis.at(1), axis.at(row.Reach.Median)
	rectangle(c, ink, from, y-5, to, y+5)
	lo, hi := axis.at(row.Reach.Min), axis.at(row.Reach.Max)
	line(c, black, 0.6, vg.Point{X: lo, Y: y}, vg.Point{X: hi, Y: y})
	label := letters(8, black, false)
	x := max(from, to, hi) + 4
	c.FillText(label, vg.Point{X: x, Y: y}, times(row.Reach.Median))
}

// against says in a line what is wanted, what it is, and beside what.
func (r result) against() string {
	words := "goal " + r.Goal + " · " + r.Unit.format(r.Ours.Median)
	if r.Peer != nil {
		words += " beside " + r.Unit.format(r.Peer.Median) + " · " + r.PeerName
	}
	return words
}

// logAxis places positive numbers between two edges.
type logAxis struct {
	min, max    float64
	left, right vg.Length
}

// axisOf has room for the goal, for every median, and for most of the rounds.
func axisOf(rows []result, left, right vg.Length) logAxis {
	a := logAxis{0.5, 2, left, right}
	for _, r := range rows {
		a.min, a.max = min(a.min, r.Reach.Median), max(a.max, r.Reach.Median)
	}
	a.min, a.max = a.min/1.15, a.max*1.15
	return a
}

func (a logAxis) has(v float64) bool { return v >= a.min && v <= a.max }

func (a logAxis) at(v float64) vg.Length {
	part := math.Log(min(max(v, a.min), a.max)/a.min) / math.Log(a.max/a.min)
	return a.left + vg.Length(part)*(a.right-a.left)
}
