// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // for clients that compress
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/stats"

	"github.com/modelfs/modelfs/workers/arena"
	"github.com/modelfs/modelfs/workers/caller"
	"github.com/modelfs/modelfs/workers/internal/wire"
	"github.com/modelfs/modelfs/workers/reference"
)

// Config is what a Server is made of.
type Config struct {
	// Version is what ServerMetadata says.
	Version string
	Models  []ModelConfig
	// Find makes the configuration of a model that is asked to be loaded and is not in
	// Models; nil: there are no others. An error is what the caller gets.
	Find func(name string) (ModelConfig, error)
	// Credentials shake hands with each connection, and Callers says who calls: see
	// package caller. nil: nobody is known.
	Credentials credentials.TransportCredentials
	Callers     func(ctx context.Context) (caller.Caller, error)
	// References opens what is named instead of sent; nil: nothing is.
	References *reference.References
	// Arena is memory for tensors; the server closes it.
	Arena *arena.Arena
	// MaxTensorBytes is the most that the inputs, or the outputs, of one execution may
	// take; 0: no limit of its own. A message may have 64 MiB more.
	MaxTensorBytes int64
	// Stats, if not nil, is told of every call: tracing.
	Stats stats.Handler
	// Changed is told, without locks, when a model's state changed; it may be nil.
	Changed func()
	Log     *slog.Logger
}

// Server serves models. It is made by New, and ends by Drain or Close.
type Server struct {
	cfg    Config
	grpc   *grpc.Server
	health *health.Server
	arena  *arena.Arena

	draining atomic.Bool
	calls    tally

	mu     sync.Mutex
	models map[string]*model // guarded by mu
	change chan struct{}     // guarded by mu: closed at the next change of a state
}

var _ wire.Server = (*Server)(nil)

// Windows and buffers of a connection: with gRPC's own a message of 100 MB waits for the
// other side hundreds of times.
const (
	window = 64 << 20
	buffer = 256 << 10
	spare  = 64 << 20 // of a message, beside its tensors

	streamWorkers = 8
)

// New makes a server and starts its models; it does not wait for them.
func New(cfg Config) *Server {
	if cfg.Callers == nil {
		cfg.Callers = func(context.Context) (caller.Caller, error) { return caller.Caller{}, nil }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, arena: cfg.Arena, health: health.NewServer(), models: make(map[string]*model), change: make(chan struct{})}
	most := int64(1<<31 - 1)
	if cfg.MaxTensorBytes > 0 {
		most = min(cfg.MaxTensorBytes+spare, most)
	}
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(wire.Codec()),
		grpc.MaxRecvMsgSize(int(most)), grpc.MaxSendMsgSize(1<<31 - 1),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window),
		grpc.ReadBufferSize(buffer), grpc.WriteBufferSize(buffer),
		grpc.MaxConcurrentStreams(10_000),
		// Calls find a goroutine whose stack has grown already; more have one of their own.
		grpc.NumStreamWorkers(streamWorkers),
		grpc.ConnectionTimeout(20 * time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	}
	opts = append(opts, grpc.ChainUnaryInterceptor(s.recoverUnary), grpc.ChainStreamInterceptor(s.recoverStream))
	if cfg.Credentials != nil {
		opts = append(opts, grpc.Creds(cfg.Credentials))
	}
	if cfg.Stats != nil {
		opts = append(opts, grpc.StatsHandler(cfg.Stats))
	}
	s.grpc = grpc.NewServer(opts...)
	s.grpc.RegisterService(wire.Service(), s)
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	s.arena.Gone = s.forget
	for _, c := range cfg.Models {
		s.models[c.Name] = newModel(s, c)
	}
	for _, m := range s.list() {
		s.tellHealth(m)
		m.load()
	}
	s.tellOverall()
	return s
}

// forget has all handlers let go of a file of the arena.
func (s *Server) forget(key uint64) {
	for _, m := range s.list() {
		if r := m.current(); r != nil {
			r.pool.Forget(key)
		}
	}
}

// Serve answers on a listener until the server ends; it closes the listener.
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(l) }

// Drain ends the server: nothing new is taken, what runs or waits is answered until the
// context ends, and then what is left is cut off.
func (s *Server) Drain(ctx context.Context) {
	s.draining.Store(true)
	s.health.Shutdown() // who watches is told before connections go
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.grpc.GracefulStop()
	}()
	select {
	case <-ended:
	case <-s.calls.idle(): // who watches health, or has an idle stream, is not waited for
		select {
		case <-ended:
		case <-time.After(lastWrites):
		}
	case <-ctx.Done():
	}
	s.grpc.Stop()
	<-ended
	s.close(ctx)
}

const shuttingDown = "the server is shutting down"

// lastWrites is how long the last responses have to be written.
const lastWrites = time.Second

// Close ends the server at once.
func (s *Server) Close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Drain(ctx)
}

func (s *Server) close(ctx context.Context) {
	var all sync.WaitGroup
	for _, m := range s.list() {
		all.Go(func() { m.unload(ctx, shuttingDown) })
	}
	all.Wait()
	s.arena.Close()
}

// list are the models, by name.
func (s *Server) list() []*model {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*model, 0, len(s.models))
	for _, name := range slices.Sorted(maps.Keys(s.models)) {
		out = append(out, s.models[name])
	}
	return out
}

// find returns a model that is served, or could be.
func (s *Server) find(name string) (*model, error) {
	m, err := s.model(name, "")
	if !errors.Is(err, ErrNoModel) || s.cfg.Find == nil {
		return m, err
	}
	cfg, err := s.cfg.Find(name)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.models[name] == nil {
		s.models[name] = newModel(s, cfg)
	}
	return s.models[name], nil
}

// State is a model's.
type State struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
}

// Models says of each model whether it can be called.
func (s *Server) Models() []State {
	var out []State
	for _, m := range s.list() {
		st := m.state()
		out = append(out, State{Name: m.cfg.Name, Version: version, State: st.State.String(), Reason: st.Reason})
	}
	return out
}

// AwaitReady waits until all models can be called, or one is known not to be.
func (s *Server) AwaitReady(ctx context.Context) error {
	for _, m := range s.list() {
		if err := m.await(ctx); err != nil {
			return err
		}
	}
	return nil
}
