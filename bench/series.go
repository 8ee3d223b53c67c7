// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"slices"
)

// series is what one contender took in each round that counts, in seconds unless
// said otherwise.
type series []float64

// summary is a series in three numbers.
type summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Rounds int     `json:"rounds"`
}

func (s series) summary() summary {
	if len(s) == 0 {
		return summary{}
	}
	return summary{Median: s.median(), Min: slices.Min(s), Max: slices.Max(s), Rounds: len(s)}
}

// median is the middle one, or the mean of the two in the middle; 0 of none.
func (s series) median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

var errRounds = errors.New("two series that were not measured in the same rounds")

// over divides round by round: a machine that slows down for some rounds slows
// both of them.
func (s series) over(other series) (series, error) {
	if len(s) != len(other) {
		return nil, errRounds
	}
	out := make(series, len(s))
	for i := range s {
		if other[i] <= 0 {
			return nil, errors.New("a round that took no time")
		}
		out[i] = s[i] / other[i]
	}
	return out, nil
}

// fastest is the index of the series with the least median.
func fastest(all []series) int {
	best := 0
	for i := range all {
		if all[i].median() < all[best].median() {
			best = i
		}
	}
	return best
}
