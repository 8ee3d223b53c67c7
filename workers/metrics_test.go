// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// metric is a model's, by its name.
func (f *fixture) metric(t *testing.T, name, model string) float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(f.Server)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if m.GetLabel()[0].GetValue() == model {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no %s of %s", name, model)
	return 0
}
