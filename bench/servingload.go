// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

const servingCallers = 100

// load: a hundred callers of 1 KB.
func (m *serving) load(ctx context.Context) ([]result, error) {
	callers := func(s *inferenceServer, name, what string) contender {
		return contender{name, rate, func(ctx context.Context) (float64, error) {
			a, err := m.callers(ctx, s, what, servingCallers, m.plan.servingLoad)
			return float64(a.Count) / max(a.Seconds, 1e-9), err
		}}
	}
	contenders := []contender{
		callers(m.one, "one by one", "vector"), callers(m.batched, "batches", "row"),
		callers(m.mlserver, "MLServer", "vector"), callers(m.aio, "grpc.aio", "vector"),
	}
	ghz, missing := m.ghz(ctx)
	if missing == nil {
		for _, s := range []*inferenceServer{m.one, m.mlserver} {
			contenders = append(contenders, contender{"ghz, " + s.name, rate, func(ctx context.Context) (float64, error) { return ghz.run(ctx, s, m.plan.servingLoad) }})
		}
	}
	all, err := m.takeTurns(ctx, m.plan.servingRounds, contenders)
	if err != nil {
		return nil, err
	}
	return loadResults(all, missing)
}

// callers has so many callers call a server for a time.
func (m *serving) callers(ctx context.Context, s *inferenceServer, what string, callers int, length time.Duration) (answer, error) {
	return m.helper(ctx, "callers", s.address, what, strconv.Itoa(callers), strconv.FormatInt(length.Milliseconds(), 10))
}

func loadResults(all []series, missing error) ([]result, error) {
	what := fmt.Sprintf("%d callers of 1 KB: calls answered", servingCallers)
	a, err1 := beside(what, rate, all[0], "MLServer", all[2], oftener(10))
	b, err2 := beside(what+", in batches of at most 32", rate, all[1], "MLServer", all[2], oftener(12))
	c, err3 := beside(what, rate, all[0], "a server of grpc.aio", all[3], oftener(5))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	a.Note = "the callers are goroutines of one process, on the processors that the server has, too"
	check := what + ", by ghz"
	if missing != nil {
		return []result{a, b, c, without(check, rate, nil, "MLServer", goal{}, missing)}, nil
	}
	d, err := beside(check, rate, all[4], "MLServer", all[5], goal{})
	return []result{a, b, c, d}, err
}

// ghz is a generator of load that others have written.
type ghz struct{ program, proto string }

// ghz builds it, at the version that tools/go.mod has.
func (m *serving) ghz(ctx context.Context) (*ghz, error) {
	const tool = "build/tools/ghz"
	cmd := exec.CommandContext(ctx, "make", "--silent", tool)
	cmd.Dir = m.repository
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make %s: %w: %s", tool, err, lastOf(string(out)))
	}
	return &ghz{filepath.Join(m.repository, tool), filepath.Join(m.repository, "workers/inference/grpc_service.proto")}, nil
}

// run calls a server for a time, with as many callers.
func (g *ghz) run(ctx context.Context, s *inferenceServer, length time.Duration) (float64, error) {
	request, err := json.Marshal(map[string]any{
		"model_name":         servedModel,
		"inputs":             []any{map[string]any{"name": "x", "datatype": "UINT8", "shape": []int{smallInput}}},
		"raw_input_contents": []string{base64.StdEncoding.EncodeToString(servedBytes(smallInput))},
	})
	if err != nil {
		return 0, err
	}
	cmd := command(ctx, g.program, "--insecure", "--proto", g.proto, "--import-paths", filepath.Dir(g.proto), "--call", "inference.GRPCInferenceService/ModelInfer",
		"--concurrency", strconv.Itoa(servingCallers), "--duration", length.String(), "--duration-stop", "wait", "--data", string(request), "--format", "json", s.address)
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("ghz: %w", err)
	}
	var said struct {
		Rps    float64        `json:"rps"`
		Status map[string]int `json:"statusCodeDistribution"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return 0, fmt.Errorf("ghz said %.200q: %w", out, err)
	}
	if len(said.Status) != 1 || said.Status["OK"] == 0 {
		return 0, fmt.Errorf("ghz had answers %v", said.Status)
	}
	return said.Rps, nil
}
