// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "github.com/modelfs/modelfs/workers/inference"
)

// echo answers with the raw inputs, out of memory that it counts.
type echo struct {
	Server
	lent, back, twice atomic.Int64
	direct            bool // send the request's own buffers
}

func (e *echo) ServerLive(context.Context, *pb.ServerLiveRequest) (*pb.ServerLiveResponse, error) {
	return &pb.ServerLiveResponse{Live: true}, nil
}

func (e *echo) ModelInfer(_ context.Context, in *InferRequest) (*InferResponse, error) {
	out := &InferResponse{Message: &pb.ModelInferResponse{ModelName: in.Message.ModelName, Id: in.Message.Id}}
	if e.direct {
		out.Raw, in.Raw = in.Raw, nil
		return out, nil
	}
	for _, p := range in.Pieces() {
		e.lent.Add(1)
		var gone atomic.Bool
		out.Raw = append(out.Raw, Borrow(bytes.Join(p, nil), func() {
			if gone.Swap(true) {
				e.twice.Add(1)
			}
			e.back.Add(1)
		}))
	}
	in.Free()
	return out, nil
}

func (e *echo) ModelStreamInfer(s Stream) error {
	for {
		in, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		out, err := e.ModelInfer(s.Context(), in)
		if err != nil {
			return err
		}
		if err := s.Send(&StreamResponse{Response: out}); err != nil {
			return err
		}
	}
}

func serve(t testing.TB, s Server) string {
	return listen(t, func(g *grpc.Server) { g.RegisterService(Service(), s) }, grpc.ForceServerCodecV2(Codec()))
}

func serveUsual(t testing.TB) string {
	return listen(t, func(g *grpc.Server) { pb.RegisterGRPCInferenceServiceServer(g, usual{}) })
}

func listen(t testing.TB, register func(*grpc.Server), options ...grpc.ServerOption) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(1<<30), grpc.MaxSendMsgSize(1<<30))...)
	register(g)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	return "unix:" + socket
}

func dial(t testing.TB, address string, options ...grpc.CallOption) *grpc.ClientConn {
	t.Helper()
	options = append(options, grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30))
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(options...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestService: it has the calls of the generated description, and no others.
func TestService(t *testing.T) {
	got, want := Service(), pb.GRPCInferenceService_ServiceDesc
	names := func(d *grpc.ServiceDesc) (out []string) {
		for _, m := range d.Methods {
			out = append(out, m.MethodName)
		}
		for _, s := range d.Streams {
			out = append(out, s.StreamName)
		}
		return out
	}
	if !reflect.DeepEqual(names(got), names(&want)) {
		t.Errorf("calls %v, want %v", names(got), names(&want))
	}
}

// TestRoundTrip: both codecs at each end understand each other.
func TestRoundTrip(t *testing.T) {
	for _, direct := range []bool{false, true} {
		server := &echo{direct: direct}
		address := serve(t, server)
		large := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
		for _, size := range []int{0, 1, 1000, 5000, len(large)} {
			usual := pb.NewGRPCInferenceServiceClient(dial(t, address))
			if r, err := usual.ServerLive(t.Context(), &pb.ServerLiveRequest{}); err != nil || !r.Live {
				t.Fatal(r, err)
			}
			want := [][]byte{large[:size], []byte("x")}
			r, err := usual.ModelInfer(t.Context(), &pb.ModelInferRequest{ModelName: "m", Id: "1", RawInputContents: want})
			if err != nil {
				t.Fatal(err)
			}
			same(t, [][][]byte{{r.RawOutputContents[0]}, {r.RawOutputContents[1]}}, want)

			ours := dial(t, address, grpc.ForceCodecV2(Codec()))
			request := func() *InferRequest {
				return &InferRequest{Message: &pb.ModelInferRequest{ModelName: "m", Id: "1"}, Raw: []Raw{Borrow(want[0], nil), Borrow(want[1], nil)}}
			}
			var out InferResponse
			if err := ours.Invoke(t.Context(), pb.GRPCInferenceService_ModelInfer_FullMethodName, request(), &out); err != nil {
				t.Fatal(err)
			}
			same(t, out.Pieces(), want)
			out.Free()

			s, err := ours.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, pb.GRPCInferenceService_ModelStreamInfer_FullMethodName)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				var got StreamResponse
				if err := s.SendMsg(request()); err != nil {
					t.Fatal(err)
				}
				if err := s.RecvMsg(&got); err != nil {
					t.Fatal(err)
				}
				same(t, got.Response.Pieces(), want)
				got.Free()
			}
			if err := s.CloseSend(); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, func() bool { return server.lent.Load() == server.back.Load() })
		if server.twice.Load() > 0 {
			t.Error("memory was given back twice")
		}
	}
}

// TestMalformed: what is no message is an error of the call, and the server lives.
func TestMalformed(t *testing.T) {
	conn := dial(t, serve(t, &echo{}), grpc.ForceCodecV2(Codec()))
	for _, raw := range []string{"\x3a", "\x3a\xff\xff\xff\xff\x0f", "\x3f", "\x0b", "\x0a\x01\xff", strings.Repeat("\x3a\x00", MaxRaw+1)} {
		err := conn.Invoke(t.Context(), pb.GRPCInferenceService_ModelInfer_FullMethodName, rawMessage(raw), &InferResponse{})
		if status.Code(err) != codes.Internal {
			t.Errorf("% .20x: %v", raw, err)
		}
	}
	if err := conn.Invoke(t.Context(), pb.GRPCInferenceService_ModelInfer_FullMethodName, rawMessage(""), &InferResponse{}); err != nil {
		t.Error(err)
	}
}

// TestBroken: memory that was lent comes back exactly once, also of calls and streams
// that end in the middle.
func TestBroken(t *testing.T) {
	server := &echo{}
	address := serve(t, server)
	data := make([]byte, 8<<20)
	for i := range 40 {
		conn := dial(t, address, grpc.ForceCodecV2(Codec()))
		ctx, cancel := context.WithCancel(t.Context())
		request := &InferRequest{Message: &pb.ModelInferRequest{}, Raw: []Raw{Borrow(data, nil)}}
		if i%2 == 0 {
			time.AfterFunc(time.Duration(i)*time.Millisecond, cancel)
			var out InferResponse
			_ = conn.Invoke(ctx, pb.GRPCInferenceService_ModelInfer_FullMethodName, request, &out)
		} else {
			s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, pb.GRPCInferenceService_ModelStreamInfer_FullMethodName)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.SendMsg(request); err != nil {
				t.Fatal(err)
			}
			// Its answer fills the window, and nobody reads.
			seen := server.lent.Load()
			eventually(t, func() bool { return server.lent.Load() > seen || seen > 0 })
		}
		if i%4 < 2 {
			_ = conn.Close()
		}
		cancel()
	}
	t.Logf("%d lent, %d came back without the garbage collector", server.lent.Load(), server.back.Load())
	eventually(t, func() bool { runtime.GC(); return server.lent.Load() == server.back.Load() })
	if server.lent.Load() == 0 || server.twice.Load() > 0 {
		t.Errorf("%d lent, %d given back twice", server.lent.Load(), server.twice.Load())
	}
}

type rawMessage string

func (m rawMessage) Marshal() (Raw, error) { return Borrow([]byte(m), nil), nil }

func (rawMessage) Unmarshal(Raw) error { return nil }

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited a minute")
		}
	}
}
