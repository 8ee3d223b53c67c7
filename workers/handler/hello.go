// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/modelfs/modelfs/workers/call"
)

const maxConcurrency = 1024

type hello struct {
	Platform    string        `json:"platform"`
	Inputs      []helloTensor `json:"inputs"`
	Outputs     []helloTensor `json:"outputs"`
	MaxBatch    int           `json:"max_batch"`
	Decoupled   bool          `json:"decoupled"`
	Concurrency int           `json:"concurrency"`
	Error       string        `json:"error"`
}

type helloTensor struct {
	Name     string  `json:"name"`
	Datatype string  `json:"datatype"`
	Shape    []int64 `json:"shape"`
}

// parseHello is what a handler says of its model, or why it cannot serve.
func parseHello(text []byte) (Spec, error) {
	var h hello
	if err := json.Unmarshal(text, &h); err != nil {
		return Spec{}, fmt.Errorf("%w: its first record: %w", ErrProtocol, err)
	}
	if h.Error != "" {
		return Spec{}, errors.New(h.Error)
	}
	if h.MaxBatch < 0 || h.Concurrency < 1 || h.Concurrency > maxConcurrency {
		return Spec{}, fmt.Errorf("%w: batches of %d and %d calls at a time", ErrProtocol, h.MaxBatch, h.Concurrency)
	}
	spec := Spec{Platform: h.Platform, MaxBatch: h.MaxBatch, Decoupled: h.Decoupled, Concurrency: h.Concurrency}
	var err error
	if spec.Inputs, err = helloTensors(h.Inputs); err == nil {
		spec.Outputs, err = helloTensors(h.Outputs)
	}
	if err != nil {
		return Spec{}, fmt.Errorf("%w: what the model takes and gives: %w", ErrProtocol, err)
	}
	return spec, nil
}

func helloTensors(list []helloTensor) ([]call.Tensor, error) {
	var tensors []call.Tensor
	seen := map[string]bool{}
	for _, t := range list {
		datatype, ok := call.ParseDatatype(t.Datatype)
		if !ok {
			return nil, fmt.Errorf("%.40q has no datatype %.40q", t.Name, t.Datatype)
		}
		if t.Name == "" || len(t.Name) > maxName || len(t.Shape) >= maxRank || seen[t.Name] {
			return nil, fmt.Errorf("%.40q of %d dimensions: its name is empty, too long or there twice, or these are too many", t.Name, len(t.Shape))
		}
		for _, n := range t.Shape {
			if n < -1 {
				return nil, fmt.Errorf("%.40q has shape %v", t.Name, t.Shape)
			}
		}
		seen[t.Name] = true
		tensors = append(tensors, call.Tensor{Name: t.Name, Datatype: datatype, Shape: t.Shape})
	}
	return tensors, nil
}
