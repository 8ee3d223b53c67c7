// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "time"

// plan is how large and how often.
type plan struct {
	touchSize   int64
	touchRounds int

	coldSize    int64
	coldTensors int
	coldRounds  int

	openSize   int64
	opens      int // in a round, each with its close
	openWarm   int // before them, not counted
	openRounds int
	openTraced int // under the kernel's trace

	attachSizes  []int64 // the first is what the others are held against
	attaches     int
	attachRounds int

	tensors      int
	tensorRounds int
	tensorIdle   time.Duration // until the daemon has given back what a list took

	models      int
	modelRounds int

	headerTensors int
	headerRounds  int
	largeSize     int64 // of a file of which only the header is read

	idleSettle, idle time.Duration
	idleRounds       int

	objectRounds int

	frameSizes  []int64 // in bytes, the largest last
	frames      int     // in a round
	frameRounds int

	writeSize   int64
	writePasses int
	writeRounds int

	servingSizes       []int64 // of an input, the largest last
	servingRounds      int
	servingLargeRounds int           // of inputs that take the slowest peer more than 10 s
	servingLoad        time.Duration // of a round
	servingCalls       int           // in a round, one after another
	servingMiniLM      int           // rounds; 0: not at all
}

// fullPlan is what the goals are about.
func fullPlan() plan {
	return plan{
		touchSize: 1 << 30, touchRounds: 21,
		coldSize: 2 << 30, coldTensors: 64, coldRounds: 9,
		openSize: 16 << 20, opens: 2000, openWarm: 400, openRounds: 15, openTraced: 1000,
		attachSizes: []int64{16 << 20, 256 << 20, 1 << 30, 2 << 30}, attaches: 500, attachRounds: 15,
		tensors: 100_000, tensorRounds: 3, tensorIdle: 18 * time.Second,
		models: 10_000, modelRounds: 3,
		headerTensors: 10_000, headerRounds: 9, largeSize: 40e9,
		idleSettle: 5 * time.Second, idle: 10 * time.Second, idleRounds: 2,
		objectRounds: 7,
		frameSizes:   []int64{1e6, 1e7, 1e8}, frames: 20, frameRounds: 5,
		writeSize: 256 << 20, writePasses: 9, writeRounds: 7,
		servingSizes: []int64{1e6, 1e7, 1e8}, servingRounds: 5, servingLargeRounds: 2, servingLoad: 1500 * time.Millisecond, servingCalls: 1000, servingMiniLM: 3,
	}
}

// quickPlan sees that everything works.
func quickPlan() plan {
	return plan{
		touchSize: 64 << 20, touchRounds: 3,
		coldSize: 64 << 20, coldTensors: 8, coldRounds: 2,
		openSize: 1 << 20, opens: 500, openWarm: 50, openRounds: 3, openTraced: 200,
		attachSizes: []int64{1 << 20, 16 << 20, 64 << 20}, attaches: 200, attachRounds: 3,
		tensors: 2000, tensorRounds: 1, tensorIdle: time.Second,
		models: 200, modelRounds: 1,
		headerTensors: 500, headerRounds: 2, largeSize: 40e9,
		idleSettle: time.Second / 2, idle: time.Second, idleRounds: 1,
		objectRounds: 1,
		frameSizes:   []int64{1e6, 1e7}, frames: 5, frameRounds: 1,
		writeSize: 32 << 20, writePasses: 3, writeRounds: 1,
		servingSizes: []int64{1e6, 1e7}, servingRounds: 1, servingLargeRounds: 1, servingLoad: 300 * time.Millisecond, servingCalls: 100,
	}
}

// framesOf is how many frames of a size a round has: a pickle of 100 MB takes a
// second and more.
func (p plan) framesOf(size int64) int {
	if size > 50e6 {
		return max(p.frames/4, 1)
	}
	return p.frames
}

// withRounds sets all numbers of rounds; 0 leaves them.
func (p plan) withRounds(n int) plan {
	if n > 0 {
		for _, rounds := range []*int{
			&p.touchRounds, &p.coldRounds, &p.openRounds, &p.attachRounds, &p.tensorRounds, &p.modelRounds, &p.headerRounds, &p.idleRounds,
			&p.objectRounds, &p.frameRounds, &p.writeRounds, &p.servingRounds, &p.servingLargeRounds,
		} {
			*rounds = n
		}
		if p.servingMiniLM > 0 {
			p.servingMiniLM = n
		}
	}
	return p
}
