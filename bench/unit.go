// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"strconv"
)

// unit is what the numbers of a series are.
type unit string

const (
	seconds unit = "s"
	memory  unit = "bytes"
	rate    unit = "/s" // how often in a second
	count   unit = ""   // of anything
)

// format writes one number for people: three digits that count.
func (u unit) format(v float64) string {
	switch u {
	case seconds:
		switch {
		case v == 0:
			return "0 s"
		case v < 1e-3:
			return digits(v*1e6) + " µs"
		case v < 1:
			return digits(v*1e3) + " ms"
		}
		return digits(v) + " s"
	case memory:
		if v < 1e9 {
			return digits(v/1e6) + " MB"
		}
		return digits(v/1e9) + " GB"
	case rate:
		return digits(v) + " /s"
	}
	return digits(v)
}

// digits keeps three that count, and no more of a whole number than it has.
func digits(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e6 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	places := 0
	switch a := math.Abs(v); {
	case a < 10:
		places = 2
	case a < 100:
		places = 1
	}
	return strconv.FormatFloat(v, 'f', places, 64)
}

// spread writes a summary: the median, and the least and the most in brackets.
func (u unit) spread(s summary) string {
	if s.Rounds < 2 || s.Min == s.Max {
		return u.format(s.Median)
	}
	return fmt.Sprintf("%s (%s to %s)", u.format(s.Median), u.format(s.Min), u.format(s.Max))
}

// size writes a number of bytes as it was asked for: in KiB, MiB, GiB.
func size(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<28) == 0:
		return short(float64(n)/(1<<30)) + " GiB"
	case n >= 1<<20:
		return digits(math.Round(float64(n)/(1<<20))) + " MiB"
	}
	return digits(math.Round(float64(n)/(1<<10))) + " KiB"
}
