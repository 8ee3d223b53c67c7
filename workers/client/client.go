// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/modelfs/modelfs/workers/inference"
	"github.com/modelfs/modelfs/workers/internal/wire"
)

// Client calls servers. It may be used by any number of goroutines.
type Client struct {
	model string
	// calls goes to servers that say that the model is ready; control to any: who asks
	// why it is not ready needs an answer.
	calls, control *grpc.ClientConn
}

// Dial makes a client. It does not wait for a server: see WaitReady.
func Dial(_ context.Context, o Options) (*Client, error) {
	target := o.Address
	if target == "" {
		mount, err := findMount(o.Mount)
		if err != nil {
			return nil, err
		}
		found := &finder{mount: mount, model: o.Model}
		o.Dial = append([]grpc.DialOption{grpc.WithResolvers(found)}, o.Dial...)
		target = found.Scheme() + ":///" + "workers"
	}
	c := &Client{model: o.Model}
	for _, conn := range []struct {
		to      **grpc.ClientConn
		healthy bool
	}{{&c.calls, true}, {&c.control, false}} {
		options, err := o.dialOptions(conn.healthy)
		if err == nil {
			*conn.to, err = grpc.NewClient(target, options...)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("dial %s: %w", target, err), c.Close())
		}
	}
	return c, nil
}

// Close ends the client's connections.
func (c *Client) Close() error {
	var errs []error
	for _, conn := range []*grpc.ClientConn{c.calls, c.control} {
		if conn != nil {
			errs = append(errs, conn.Close())
		}
	}
	return errors.Join(errs...)
}

// service are the calls as they are, to any server.
func (c *Client) service() inference.GRPCInferenceServiceClient {
	return inference.NewGRPCInferenceServiceClient(c.control)
}

const (
	// rounds is how often a call is made again after a server was gone.
	rounds             = 5
	leastPause         = 50 * time.Millisecond
	mostPause          = 300 * time.Millisecond
	answersWithinAPoll = 2 * time.Second
)

// repeat makes a call, and makes it again when the server was gone and is back.
func (c *Client) repeat(ctx context.Context, model string, call func() error) error {
	for round := 1; ; round++ {
		err := call()
		if status.Code(err) != codes.Unavailable || round == rounds || wire.Final(err) {
			return err
		}
		if c.calls.GetState() == connectivity.Ready && round > 1 {
			return err // the server is there: it is the call that does not work
		}
		if why := c.wait(ctx, model, err); why != nil {
			return why
		}
	}
}

// wait returns when a server is ready for the model, or with the reason why none will
// be; cause is why somebody asks.
func (c *Client) wait(ctx context.Context, model string, cause error) error {
	for pause := leastPause; ; pause = min(2*pause, mostPause) {
		state := c.calls.GetState()
		if state == connectivity.Ready {
			return nil
		}
		c.calls.Connect()
		if err := c.verdict(ctx, model); err != nil {
			return err
		}
		changed, cancel := context.WithTimeout(ctx, pause)
		c.calls.WaitForStateChange(changed, state)
		cancel()
		if err := ctx.Err(); err != nil {
			return status.Errorf(status.FromContextError(err).Code(), "%v, and no server was ready: %v", err, status.Convert(cause).Message())
		}
	}
}

// verdict asks the server why the model is not ready: nil if it may yet be.
func (c *Client) verdict(ctx context.Context, model string) error {
	ctx, cancel := context.WithTimeout(ctx, answersWithinAPoll)
	defer cancel()
	r, err := c.service().RepositoryIndex(ctx, &inference.RepositoryIndexRequest{}, grpc.WaitForReady(false))
	if err != nil || model == "" {
		return nil // gone, or a server that has no such call
	}
	for _, m := range r.Models {
		switch {
		case m.Name != model:
		case m.State == "UNAVAILABLE":
			return status.Errorf(codes.Unavailable, "%s is not ready: %s", model, m.Reason)
		default:
			return nil
		}
	}
	return status.Errorf(codes.NotFound, "no model %q is served here", model)
}
