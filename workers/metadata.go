// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"context"
	"fmt"

	"github.com/modelfs/modelfs/workers/call"
	"github.com/modelfs/modelfs/workers/handler"
	"github.com/modelfs/modelfs/workers/inference"
)

// ServerLive says that the server answers.
func (s *Server) ServerLive(context.Context, *inference.ServerLiveRequest) (*inference.ServerLiveResponse, error) {
	return &inference.ServerLiveResponse{Live: true}, nil
}

// ServerReady says whether all models that are to be served can be called.
func (s *Server) ServerReady(context.Context, *inference.ServerReadyRequest) (*inference.ServerReadyResponse, error) {
	return &inference.ServerReadyResponse{Ready: s.Ready()}, nil
}

// ModelReady says whether a model can be called.
func (s *Server) ModelReady(_ context.Context, in *inference.ModelReadyRequest) (*inference.ModelReadyResponse, error) {
	m, err := s.model(in.GetName(), in.GetVersion())
	if err != nil {
		return nil, failure(err)
	}
	return &inference.ModelReadyResponse{Ready: m.state().State == handler.Ready}, nil
}

// ServerMetadata names the server and the extensions that it has.
func (s *Server) ServerMetadata(context.Context, *inference.ServerMetadataRequest) (*inference.ServerMetadataResponse, error) {
	extensions := []string{"model_repository", "model_configuration", "statistics", "binary_tensor_data", "modelfs_path"}
	if s.cfg.References.ClientMemory() {
		extensions = append(extensions, "system_shared_memory")
	}
	return &inference.ServerMetadataResponse{Name: "modelfs", Version: s.cfg.Version, Extensions: extensions}, nil
}

// ModelMetadata says what a model takes and gives; of one that has not been loaded yet
// nobody knows.
func (s *Server) ModelMetadata(_ context.Context, in *inference.ModelMetadataRequest) (*inference.ModelMetadataResponse, error) {
	m, spec, err := s.specOf(in.GetName(), in.GetVersion())
	if err != nil {
		return nil, failure(err)
	}
	tensors := func(list []call.Tensor) (out []*inference.ModelMetadataResponse_TensorMetadata) {
		for _, t := range list {
			shape := t.Shape
			if spec.MaxBatch > 0 {
				shape = append([]int64{-1}, shape...)
			}
			out = append(out, &inference.ModelMetadataResponse_TensorMetadata{Name: t.Name, Datatype: t.Datatype.String(), Shape: shape})
		}
		return out
	}
	return &inference.ModelMetadataResponse{
		Name: m.cfg.Name, Versions: []string{version}, Platform: spec.Platform,
		Inputs: tensors(spec.Inputs), Outputs: tensors(spec.Outputs),
	}, nil
}

func (s *Server) specOf(name, wanted string) (*model, handler.Spec, error) {
	m, err := s.model(name, wanted)
	if err != nil {
		return nil, handler.Spec{}, err
	}
	_, spec, err := m.ready()
	return m, spec, err
}

// ModelConfig says how a model is served, in the part of Triton's words that applies.
func (s *Server) ModelConfig(_ context.Context, in *inference.ModelConfigRequest) (*inference.ModelConfigResponse, error) {
	m, spec, err := s.specOf(in.GetName(), in.GetVersion())
	if err != nil {
		return nil, failure(err)
	}
	c := &inference.ModelConfig{
		Name: m.cfg.Name, Platform: spec.Platform, Backend: backendOf(spec.Platform),
		MaxBatchSize:           int32(m.maxBatch(spec)),
		InstanceGroup:          []*inference.ModelInstanceGroup{{Name: m.cfg.Name, Count: int32(m.cfg.Handlers), Kind: inference.ModelInstanceGroup_KIND_CPU}},
		ModelTransactionPolicy: &inference.ModelTransactionPolicy{Decoupled: spec.Decoupled},
	}
	for _, t := range spec.Inputs {
		c.Input = append(c.Input, &inference.ModelInput{Name: t.Name, DataType: inference.DataType(t.Datatype), Dims: t.Shape})
	}
	for _, t := range spec.Outputs {
		c.Output = append(c.Output, &inference.ModelOutput{Name: t.Name, DataType: inference.DataType(t.Datatype), Dims: t.Shape})
	}
	if m.maxBatch(spec) > 1 {
		q := m.cfg.Queue
		c.DynamicBatching = &inference.ModelDynamicBatching{
			MaxQueueDelayMicroseconds: uint64(q.MaxDelay.Microseconds()),
			PriorityLevels:            q.Levels, DefaultPriorityLevel: q.Default,
			DefaultQueuePolicy: &inference.ModelQueuePolicy{
				AllowTimeoutOverride: true, DefaultTimeoutMicroseconds: uint64(q.Timeout.Microseconds()), MaxQueueSize: uint32(q.MaxQueue),
			},
		}
		for _, n := range q.Preferred {
			c.DynamicBatching.PreferredBatchSize = append(c.DynamicBatching.PreferredBatchSize, int32(n))
		}
	}
	return &inference.ModelConfigResponse{Config: c}, nil
}

// maxBatch is how many rows go together: what the model can, and what is wanted.
func (m *model) maxBatch(spec handler.Spec) int {
	return min(spec.MaxBatch, max(m.cfg.Queue.MaxBatch, 1))
}

// backendOf is what Triton calls the part that runs a platform's models.
func backendOf(platform string) string {
	if platform == "onnxruntime_onnx" {
		return "onnxruntime"
	}
	return platform
}

// ModelStatistics gives the counters of one model, or of all.
func (s *Server) ModelStatistics(_ context.Context, in *inference.ModelStatisticsRequest) (*inference.ModelStatisticsResponse, error) {
	list := s.list()
	if in.GetName() != "" {
		m, err := s.model(in.GetName(), in.GetVersion())
		if err != nil {
			return nil, failure(err)
		}
		list = []*model{m}
	}
	out := &inference.ModelStatisticsResponse{}
	for _, m := range list {
		out.ModelStats = append(out.ModelStats, m.stats.proto(m.cfg.Name, version))
	}
	return out, nil
}

// model finds one that is served. The empty version is the only one.
func (s *Server) model(name, wanted string) (*model, error) {
	s.mu.Lock()
	m := s.models[name]
	s.mu.Unlock()
	switch {
	case m == nil:
		return nil, fmt.Errorf("%w: %q is not served here", ErrNoModel, name)
	case wanted != "" && wanted != version:
		return nil, fmt.Errorf("%w: %s has the version %s alone, not %q", ErrNoModel, name, version, wanted)
	}
	return m, nil
}
