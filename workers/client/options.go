// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // healthCheckConfig needs it

	"github.com/modelfs/modelfs/workers/internal/wire"
)

// Options say whom to call.
type Options struct {
	// Address is unix:/PATH, HOST:PORT, or a target of gRPC. "": found in Mount.
	Address string
	// Mount is where modelfs is mounted. "": MODELFS_MOUNT, or the only modelfs mount of
	// root or of one's own.
	Mount string
	// Model is called by requests that name none. Servers that do not serve it are passed over.
	Model string
	// Token says who calls where the socket does not: over TCP.
	Token string
	// TLS is for TCP; nil: not encrypted.
	TLS *tls.Config
	// Dial are further options of gRPC.
	Dial []grpc.DialOption
}

var errTokenInClear = errors.New("a token over TCP to another machine needs TLS: whoever listens would have it")

// dialOptions are those of a connection; healthy: only to servers whose model is ready.
func (o *Options) dialOptions(healthy bool) ([]grpc.DialOption, error) {
	config, err := serviceConfig(o.Model, healthy)
	if err != nil {
		return nil, err
	}
	transport := insecure.NewCredentials()
	if o.TLS != nil {
		transport = credentials.NewTLS(o.TLS)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(config),
		grpc.WithDisableServiceConfig(), // what a name server says
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 300 * time.Millisecond},
			MinConnectTimeout: 2 * time.Second,
		}),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(wire.Codec()),
			grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32),
			// Nothing is copied to be kept for another attempt.
			grpc.MaxRetryRPCBufferSize(math.MaxInt32),
		),
		// One message of many megabytes is the usual one.
		grpc.WithInitialWindowSize(8 << 20), grpc.WithInitialConnWindowSize(16 << 20),
		grpc.WithReadBufferSize(256 << 10), grpc.WithWriteBufferSize(256 << 10),
	}
	if o.Token != "" {
		if o.TLS == nil && o.Address != "" && !local(o.Address) {
			return nil, errTokenInClear
		}
		options = append(options, grpc.WithPerRPCCredentials(token(o.Token)))
	}
	return append(options, o.Dial...), nil
}

// local says whether an address cannot be another machine's.
func local(address string) bool {
	for _, prefix := range []string{"unix:", "unix-abstract:", "127.", "localhost:", "[::1]:"} {
		if strings.HasPrefix(address, prefix) {
			return true
		}
	}
	return false
}

// token is what authorization holds.
type token string

var _ credentials.PerRPCCredentials = token("")

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

// RequireTransportSecurity is false for sockets and this machine: see errTokenInClear.
func (token) RequireTransportSecurity() bool { return false }

// serviceConfig is how gRPC is to call. pick_first, which is what there is without a
// configuration, ignores healthCheckConfig in silence. ModelInfer alone does not wait for
// a server that is not ready: Client.repeat asks first why it is not.
func serviceConfig(model string, healthy bool) (string, error) {
	type object = map[string]any
	const service = "inference.GRPCInferenceService"
	retry := object{
		"maxAttempts": 5, "initialBackoff": "0.05s", "maxBackoff": "1s", "backoffMultiplier": 2,
		"retryableStatusCodes": []string{"UNAVAILABLE"},
	}
	config := object{
		"loadBalancingConfig": []object{{"round_robin": object{}}},
		"methodConfig": []object{
			{"name": []object{{"service": service, "method": "ModelInfer"}, {"service": service, "method": "ModelStreamInfer"}}, "retryPolicy": retry},
			{"name": []object{{"service": service}}, "retryPolicy": retry, "waitForReady": true},
		},
		"retryThrottling": object{"maxTokens": 100, "tokenRatio": 0.5},
	}
	if healthy && model != "" {
		config["healthCheckConfig"] = object{"serviceName": model}
	}
	b, err := json.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("service config: %w", err)
	}
	return string(b), nil
}
