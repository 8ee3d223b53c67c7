// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
)

// goal is what a figure is held against. The zero one is none: the figure is for
// information.
type goal struct {
	text  string
	limit float64
	least bool // the figure must be the limit at the least, not at the most

	// inverse: the ratio is the peer's time over ours, as in "6 times faster", not
	// ours over the peer's.
	inverse bool
}

// slowdown: at most limit times the peer's time.
func slowdown(limit float64) goal {
	return goal{text: fmt.Sprintf("≤ %s× its time", short(limit)), limit: limit}
}

// faster: the peer takes at least limit times as long.
func faster(limit float64) goal {
	return goal{text: fmt.Sprintf("≥ %s× faster", short(limit)), limit: limit, least: true, inverse: true}
}

// oftener: at least limit times the peer's rate.
func oftener(limit float64) goal {
	return goal{text: fmt.Sprintf("≥ %s× its rate", short(limit)), limit: limit, least: true}
}

// throughput: at least this part of what the peer moves in a second.
func throughput(limit float64) goal {
	return goal{text: fmt.Sprintf("≥ %s of its throughput", short(limit)), limit: limit, least: true, inverse: true}
}

// under: the figure itself, in its unit.
func under(limit float64, u unit) goal {
	return goal{text: "< " + u.format(limit), limit: limit}
}

// exactly n: a count.
func exactly(n float64) goal {
	return goal{text: "= " + short(n), limit: n + 0.05}
}

func (g goal) none() bool { return g.text == "" }

func (g goal) met(value float64) bool {
	if g.least {
		return value >= g.limit
	}
	return value <= g.limit
}

// reach is how far a figure gets: 1 is the goal, and more is better. It is false for
// what cannot be divided.
func (g goal) reach(figure summary) (summary, bool) {
	if g.limit <= 0 || figure.Min <= 0 {
		return summary{}, false
	}
	if g.least {
		return summary{figure.Median / g.limit, figure.Min / g.limit, figure.Max / g.limit, figure.Rounds}, true
	}
	return summary{g.limit / figure.Median, g.limit / figure.Max, g.limit / figure.Min, figure.Rounds}, true
}

// ratio of two series, as the goal reads it.
func (g goal) ratio(ours, peer series) (series, error) {
	if g.inverse {
		return peer.over(ours)
	}
	return ours.over(peer)
}

func short(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
