// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "fmt"

// result is one line of the table.
type result struct {
	Measurement string   `json:"measurement"`
	What        string   `json:"what"`
	Unit        unit     `json:"unit"`
	Bytes       int64    `json:"bytes,omitempty"` // moved in the time: the table adds the throughput
	Ours        summary  `json:"modelfs"`
	Peer        *summary `json:"peer"`
	PeerName    string   `json:"peer_name,omitempty"`
	Ratio       *summary `json:"ratio"`
	Goal        string   `json:"goal,omitempty"`
	Met         *bool    `json:"met"`            // null: there is no goal, or nothing to hold against it
	Reach       *summary `json:"reach"`          // the figure over the goal, 1 and more is met
	Size        int64    `json:"size,omitempty"` // of what was handed over, in bytes: one figure of a row of sizes
	Note        string   `json:"note,omitempty"`
}

// alone is a figure of modelfs by itself.
func alone(what string, u unit, ours series, g goal) result {
	r := result{What: what, Unit: u, Ours: ours.summary(), Goal: g.text}
	if !g.none() {
		r.hold(g, r.Ours)
	}
	return r
}

// beside is a figure next to a peer's.
func beside(what string, u unit, ours series, name string, peer series, g goal) (result, error) {
	ratios, err := g.ratio(ours, peer)
	if err != nil {
		return result{}, fmt.Errorf("%s, modelfs and %s: %w", what, name, err)
	}
	p, q := peer.summary(), ratios.summary()
	r := result{What: what, Unit: u, Ours: ours.summary(), Peer: &p, PeerName: name, Ratio: &q, Goal: g.text}
	if !g.none() {
		r.hold(g, q)
	}
	return r, nil
}

// without is a figure whose peer could not be had: the goal stays open.
func without(what string, u unit, ours series, name string, g goal, why error) result {
	return result{What: what, Unit: u, Ours: ours.summary(), PeerName: name, Goal: g.text, Note: name + " was not measured: " + why.Error()}
}

func (r *result) hold(g goal, figure summary) {
	met := g.met(figure.Median)
	r.Met = &met
	if reach, ok := g.reach(figure); ok && r.Unit != count {
		r.Reach = &reach
	}
}
