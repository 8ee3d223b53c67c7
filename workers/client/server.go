// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"time"

	"google.golang.org/grpc"

	pb "github.com/modelfs/modelfs/workers/inference"
)

// Live says whether a server answers.
func (c *Client) Live(ctx context.Context) bool {
	r, err := c.service().ServerLive(ctx, &pb.ServerLiveRequest{}, grpc.WaitForReady(false))
	return err == nil && r.Live
}

// Ready says whether the client's model can be called now; without one, all models.
func (c *Client) Ready(ctx context.Context) bool {
	if c.model == "" {
		r, err := c.service().ServerReady(ctx, &pb.ServerReadyRequest{}, grpc.WaitForReady(false))
		return err == nil && r.Ready
	}
	r, err := c.service().ModelReady(ctx, &pb.ModelReadyRequest{Name: c.model}, grpc.WaitForReady(false))
	return err == nil && r.Ready
}

// WaitReady returns when Ready, or with the reason why it will not be: the context's
// end, or what the server says of a model that does not work.
func (c *Client) WaitReady(ctx context.Context) error {
	pause := time.NewTicker(leastPause)
	defer pause.Stop()
	for !c.Ready(ctx) {
		if err := c.verdict(ctx, c.model); err != nil {
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Server says what the server is.
func (c *Client) Server(ctx context.Context) (*pb.ServerMetadataResponse, error) {
	return c.service().ServerMetadata(ctx, &pb.ServerMetadataRequest{})
}

// Metadata says what the client's model takes and gives.
func (c *Client) Metadata(ctx context.Context) (*pb.ModelMetadataResponse, error) {
	return c.service().ModelMetadata(ctx, &pb.ModelMetadataRequest{Name: c.model})
}

// Config is the client's model's, as Triton has it.
func (c *Client) Config(ctx context.Context) (*pb.ModelConfig, error) {
	r, err := c.service().ModelConfig(ctx, &pb.ModelConfigRequest{Name: c.model})
	return r.GetConfig(), err
}

// Statistics are the client's model's; without one, those of all.
func (c *Client) Statistics(ctx context.Context) ([]*pb.ModelStatistics, error) {
	r, err := c.service().ModelStatistics(ctx, &pb.ModelStatisticsRequest{Name: c.model})
	return r.GetModelStats(), err
}

// Index lists the models that a server has, ready or not.
func (c *Client) Index(ctx context.Context) ([]*pb.RepositoryIndexResponse_ModelIndex, error) {
	r, err := c.service().RepositoryIndex(ctx, &pb.RepositoryIndexRequest{})
	return r.GetModels(), err
}

// Load has a server load a model.
func (c *Client) Load(ctx context.Context, model string) error {
	_, err := c.service().RepositoryModelLoad(ctx, &pb.RepositoryModelLoadRequest{ModelName: model})
	return err
}

// Unload has a server let go of a model.
func (c *Client) Unload(ctx context.Context, model string) error {
	_, err := c.service().RepositoryModelUnload(ctx, &pb.RepositoryModelUnloadRequest{ModelName: model})
	return err
}
