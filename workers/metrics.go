// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelfs/modelfs/workers/handler"
)

// The server's metrics, by model. Triton's names stand beside those of modelfs, so that
// dashboards made for it go on working.
var (
	requestsDesc = prometheus.NewDesc("modelfs_inference_requests_total", "Calls that came to their end.", []string{"model", "result"}, nil)
	secondsDesc  = prometheus.NewDesc("modelfs_inference_seconds_total", "Where the time of calls went.", []string{"model", "part"}, nil)
	rowsDesc     = prometheus.NewDesc("modelfs_inference_rows_total", "Rows of batches that were answered; a call without a batch is one.", []string{"model"}, nil)
	batchesDesc  = prometheus.NewDesc("modelfs_inference_batches_total", "Executions.", []string{"model"}, nil)
	waitingDesc  = prometheus.NewDesc("modelfs_inference_waiting", "Calls in the queue.", []string{"model"}, nil)
	handlersDesc = prometheus.NewDesc("modelfs_inference_handlers", "Handlers that run.", []string{"model"}, nil)
	restartsDesc = prometheus.NewDesc("modelfs_inference_handler_deaths_total", "Handlers that died or were killed.", []string{"model"}, nil)
	readyDesc    = prometheus.NewDesc("modelfs_inference_ready", "1 if the model can be called.", []string{"model"}, nil)
	overheadDesc = prometheus.NewDesc("modelfs_inference_overhead_seconds", "The server's own part of an execution: from decoded to encoded, less waiting.", []string{"model"}, nil)
	arenaDesc    = prometheus.NewDesc("modelfs_inference_memory_bytes", "Memory that server and handlers share for tensors.", []string{"state"}, nil)

	tritonRequests = map[bool]*prometheus.Desc{
		true:  prometheus.NewDesc("nv_inference_request_success", "As Triton counts it.", []string{"model", "version"}, nil),
		false: prometheus.NewDesc("nv_inference_request_failure", "As Triton counts it.", []string{"model", "version"}, nil),
	}
	tritonCounts = []*prometheus.Desc{
		prometheus.NewDesc("nv_inference_count", "As Triton counts it.", []string{"model", "version"}, nil),
		prometheus.NewDesc("nv_inference_exec_count", "As Triton counts it.", []string{"model", "version"}, nil),
		prometheus.NewDesc("nv_inference_request_duration_us", "As Triton counts it.", []string{"model", "version"}, nil),
		prometheus.NewDesc("nv_inference_queue_duration_us", "As Triton counts it.", []string{"model", "version"}, nil),
		prometheus.NewDesc("nv_inference_compute_input_duration_us", "As Triton counts it.", []string{"model", "version"}, nil),
		prometheus.NewDesc("nv_inference_compute_infer_duration_us", "As Triton counts it.", []string{"model", "version"}, nil),
		prometheus.NewDesc("nv_inference_compute_output_duration_us", "As Triton counts it.", []string{"model", "version"}, nil),
	}
	tritonPending = prometheus.NewDesc("nv_inference_pending_request_count", "As Triton counts it.", []string{"model", "version"}, nil)
)

var _ prometheus.Collector = (*Server)(nil)

// Describe sends nothing: which models there are changes.
func (s *Server) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of all models.
func (s *Server) Collect(to chan<- prometheus.Metric) {
	for _, m := range s.list() {
		m.collect(to)
	}
	st := s.arena.Stats()
	to <- prometheus.MustNewConstMetric(arenaDesc, prometheus.GaugeValue, float64(st.Bytes), "reserved")
	to <- prometheus.MustNewConstMetric(arenaDesc, prometheus.GaugeValue, float64(st.Taken), "taken")
}

func (m *model) collect(to chan<- prometheus.Metric) {
	st, name := m.stats, m.cfg.Name
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter(requestsDesc, float64(st.success.count.Load()), name, "success")
	counter(requestsDesc, float64(st.fail.count.Load()), name, "failure")
	parts := []struct {
		name string
		of   *duration
	}{{"queue", &st.queue}, {"input", &st.input}, {"infer", &st.infer}, {"output", &st.output}}
	for _, p := range parts {
		counter(secondsDesc, float64(p.of.ns.Load())/1e9, name, p.name)
	}
	counter(rowsDesc, float64(st.inferences.Load()), name)
	counter(batchesDesc, float64(st.executions.Load()), name)
	live := m.state()
	gauge(waitingDesc, float64(m.depth()), name)
	gauge(handlersDesc, float64(live.Alive), name)
	counter(restartsDesc, float64(live.Deaths), name)
	ready := 0.0
	if live.State == handler.Ready {
		ready = 1
	}
	gauge(readyDesc, ready, name)
	count, sum, buckets := st.own.cumulative()
	to <- prometheus.MustNewConstHistogram(overheadDesc, count, sum, buckets, name)

	us := func(d *duration) float64 { return float64(d.ns.Load() / 1000) }
	counter(tritonRequests[true], float64(st.success.count.Load()), name, version)
	counter(tritonRequests[false], float64(st.fail.count.Load()), name, version)
	for i, v := range []float64{
		float64(st.inferences.Load()), float64(st.executions.Load()), us(&st.success), us(&st.queue), us(&st.input), us(&st.infer), us(&st.output),
	} {
		counter(tritonCounts[i], v, name, version)
	}
	gauge(tritonPending, float64(m.depth()), name, version)
}
