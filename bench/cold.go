// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strconv"
)

// directJobs is how many direct reads are in flight in the peer that reads into
// nothing.
const directJobs = 8

// directBlocks are their sizes. The fastest of them is the peer.
func directBlocks() []int { return []int{512 << 10, 1 << 20, 2 << 20} }

func needCold(p plan) room {
	// The segment; a peer's copy, and the page cache that it reads through.
	return room{disk: p.coldSize, memory: 3 * p.coldSize}
}

// measureCold: a safetensors file that nobody has, until it is whole in memory.
func measureCold(ctx context.Context, b *bench, s *scope) ([]result, error) {
	length := b.plan.coldSize
	file, err := writeModel(ctx, s.path("src"), "m", length, b.plan.coldTensors)
	if err != nil {
		return nil, err
	}
	d, err := b.mountModels(ctx, s, "mnt", s.path("src"), length+64<<20)
	if err != nil {
		return nil, err
	}
	// whole runs one contender on the cold file, with no copy left from the others.
	whole := func(name string, run func(context.Context) (answer, error), have func(answer) int64) contender {
		return contender{name, seconds, func(ctx context.Context) (float64, error) {
			if err := d.run(ctx, "evict", "--all"); err != nil {
				return 0, err
			}
			if err := dropCache(file); err != nil {
				return 0, err
			}
			// A virtual machine may give free memory back to its host within seconds, and
			// reads into it would wait for the host to find some. None has that to bear.
			if _, err := b.helper(ctx, "warm", strconv.FormatInt(2*length, 10)); err != nil {
				return 0, err
			}
			a, err := run(ctx)
			if err != nil {
				return 0, err
			}
			if n := have(a); n < length/100*99 {
				return 0, fmt.Errorf("it has %s of %s", size(n), size(length))
			}
			return a.Seconds, nil
		}}
	}
	memoryOf := func(a answer) int64 { return a.RSS }
	contenders := []contender{whole("modelfs", func(ctx context.Context) (answer, error) { return b.helper(ctx, "load", d.weights("m")) }, memoryOf)}
	for _, block := range directBlocks() {
		contenders = append(contenders, whole("O_DIRECT "+size(int64(block)), func(ctx context.Context) (answer, error) {
			return b.helper(ctx, "direct", file, strconv.Itoa(block), strconv.Itoa(directJobs))
		}, func(a answer) int64 { return a.Bytes }))
	}
	peers := b.python.peers(ctx)
	for i := range peers {
		p := &peers[i]
		if p.missing != nil {
			b.say("%s: not measured: %v", p.name, p.missing)
			continue
		}
		p.at = len(contenders)
		contenders = append(contenders, whole(p.name, func(ctx context.Context) (answer, error) { return b.python.run(ctx, p.script, file) }, memoryOf))
	}
	all, err := b.takeTurns(ctx, b.plan.coldRounds, contenders)
	if err != nil {
		return nil, err
	}
	return coldResults(length, all, peers)
}

func coldResults(length int64, all []series, peers []peer) ([]result, error) {
	what := "cold " + size(length) + " safetensors, until it is whole in memory"
	blocks := directBlocks()
	best := fastest(all[1 : 1+len(blocks)])
	name := fmt.Sprintf("O_DIRECT reads into nothing, %d in flight, %s each (the fastest of %d sizes)", directJobs, size(int64(blocks[best])), len(blocks))
	disk, err := beside(what, seconds, all[0], name, all[1+best], throughput(0.85))
	if err != nil {
		return nil, err
	}
	results := []result{disk}
	for _, p := range peers {
		if p.missing != nil {
			results = append(results, without(what, seconds, all[0], p.name, p.goal, p.missing))
			continue
		}
		r, err := beside(what, seconds, all[0], p.name, all[p.at], p.goal)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	for i := range results {
		results[i].Bytes = length
	}
	return results, nil
}
