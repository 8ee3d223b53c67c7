// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
)

// contender is one of those that take turns.
type contender struct {
	name string
	unit unit
	// run makes one run and returns its figure. What must be in place before is its
	// own business, and not in the figure.
	run func(context.Context) (float64, error)
}

// takeTurns runs every contender once a round, and returns the figures of the
// rounds that count, a series each. The round before them is not counted, and
// each round begins with another contender.
func (b *bench) takeTurns(ctx context.Context, rounds int, contenders []contender) ([]series, error) {
	all := make([]series, len(contenders))
	for round := range rounds + 1 {
		said := make([]string, len(contenders))
		for k := range contenders {
			i := (round + k) % len(contenders)
			c := contenders[i]
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			figure, err := c.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			said[i] = c.name + " " + c.unit.format(figure)
			if round > 0 {
				all[i] = append(all[i], figure)
			}
		}
		which := "not counted"
		if round > 0 {
			which = fmt.Sprintf("round %d of %d", round, rounds)
		}
		b.say("%s: %s", which, strings.Join(said, ", "))
	}
	return all, nil
}
