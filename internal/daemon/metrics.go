// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// Metrics makes .modelfs/metrics: Prometheus text. No label names a process, a
// tensor or a model, so the number of series is fixed and nothing is told that
// the reader may not know.
func (d *Daemon) Metrics(context.Context) ([]byte, error) {
	families, err := d.metrics.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	var b bytes.Buffer
	enc := expfmt.NewEncoder(&b, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			return nil, fmt.Errorf("write metrics: %w", err)
		}
	}
	return b.Bytes(), nil
}

// collector reads the daemon's counters when somebody asks for them.
type collector struct{ d *Daemon }

var (
	budgetDesc    = prometheus.NewDesc("modelfs_capacity_bytes", "Memory budget.", nil, nil)
	residentDesc  = prometheus.NewDesc("modelfs_resident_bytes", "Bytes of segments in shared memory.", nil, nil)
	lingeringDesc = prometheus.NewDesc("modelfs_mapped_after_eviction_bytes", "Bytes that left the cache and that a process still maps.", nil, nil)
	hitsDesc      = prometheus.NewDesc("modelfs_hits_total", "Opens that found their segment.", nil, nil)
	missesDesc    = prometheus.NewDesc("modelfs_misses_total", "Opens that waited for a load or started it.", nil, nil)
	loadsDesc     = prometheus.NewDesc("modelfs_loads_total", "Segments read from their origin.", nil, nil)
	failuresDesc  = prometheus.NewDesc("modelfs_load_failures_total", "Loads that failed.", nil, nil)
	evictionsDesc = prometheus.NewDesc("modelfs_evictions_total", "Segments freed, by reason.", []string{"reason"}, nil)
	fallbackDesc  = prometheus.NewDesc("modelfs_fallback_opens_total", "Opens served from the origin for want of room.", nil, nil)
	requestsDesc  = prometheus.NewDesc("modelfs_fuse_requests_total", "Requests of the kernel, by operation.", []string{"op"}, nil)
	passDesc      = prometheus.NewDesc("modelfs_passthrough_active", "1 when the kernel maps segments itself.", nil, nil)
	backingDesc   = prometheus.NewDesc("modelfs_backing_registration_failures_total", "Opens that could not be given to the kernel.", nil, nil)
	infoDesc      = prometheus.NewDesc("modelfs_build_info", "Version of the daemon.", []string{"version"}, nil)
)

func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c collector) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	stats := c.d.cache.Registry().Stats()
	gauge(budgetDesc, float64(c.d.cfg.Memory))
	gauge(residentDesc, float64(stats.Resident))
	gauge(lingeringDesc, float64(stats.Lingering))
	count(hitsDesc, stats.Hits)
	count(missesDesc, stats.Misses)
	count(loadsDesc, stats.Loads)
	count(failuresDesc, stats.LoadFailures)
	for reason, n := range stats.Evictions {
		count(evictionsDesc, n, string(reason))
	}
	count(fallbackDesc, c.d.cache.Fallbacks())
	for op, n := range c.d.server.Requests() {
		count(requestsDesc, n, op)
	}
	pass := 0.0
	if c.d.dataPath().Passthrough {
		pass = 1
	}
	gauge(passDesc, pass)
	count(backingDesc, c.d.server.RegistrationFailures())
	gauge(infoDesc, 1, c.d.cfg.Version)
}
