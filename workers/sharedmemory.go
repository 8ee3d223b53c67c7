// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"context"

	"github.com/modelfs/modelfs/workers/inference"
)

// SystemSharedMemoryStatus lists the caller's regions, or one of them.
func (s *Server) SystemSharedMemoryStatus(ctx context.Context, in *inference.SystemSharedMemoryStatusRequest) (*inference.SystemSharedMemoryStatusResponse, error) {
	c, err := s.cfg.Callers(ctx)
	if err != nil {
		return nil, failure(err)
	}
	list, err := s.cfg.References.Status(c, in.GetName())
	if err != nil {
		return nil, failure(err)
	}
	out := &inference.SystemSharedMemoryStatusResponse{Regions: make(map[string]*inference.SystemSharedMemoryStatusResponse_RegionStatus, len(list))}
	for _, r := range list {
		out.Regions[r.Name] = &inference.SystemSharedMemoryStatusResponse_RegionStatus{
			Name: r.Name, Key: r.Key, Offset: uint64(r.Offset), ByteSize: uint64(r.Bytes),
		}
	}
	return out, nil
}

// SystemSharedMemoryRegister opens a region of the caller's.
func (s *Server) SystemSharedMemoryRegister(ctx context.Context, in *inference.SystemSharedMemoryRegisterRequest) (*inference.SystemSharedMemoryRegisterResponse, error) {
	c, err := s.cfg.Callers(ctx)
	if err != nil {
		return nil, failure(err)
	}
	if err := s.cfg.References.Register(ctx, c, in.GetName(), in.GetKey(), in.GetOffset(), in.GetByteSize()); err != nil {
		return nil, failure(err)
	}
	return &inference.SystemSharedMemoryRegisterResponse{}, nil
}

// SystemSharedMemoryUnregister forgets one of the caller's regions, or all.
func (s *Server) SystemSharedMemoryUnregister(ctx context.Context, in *inference.SystemSharedMemoryUnregisterRequest) (*inference.SystemSharedMemoryUnregisterResponse, error) {
	c, err := s.cfg.Callers(ctx)
	if err != nil {
		return nil, failure(err)
	}
	if err := s.cfg.References.Unregister(c, in.GetName()); err != nil {
		return nil, failure(err)
	}
	return &inference.SystemSharedMemoryUnregisterResponse{}, nil
}
