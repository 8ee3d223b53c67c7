// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"

	"google.golang.org/grpc"

	pb "github.com/modelfs/modelfs/workers/inference"
)

// Server answers the calls of inference.GRPCInferenceService. A request that it gets
// is its own: it frees it when nobody reads its bytes any more. A response that it
// returns is gRPC's.
type Server interface {
	ServerLive(context.Context, *pb.ServerLiveRequest) (*pb.ServerLiveResponse, error)
	ServerReady(context.Context, *pb.ServerReadyRequest) (*pb.ServerReadyResponse, error)
	ModelReady(context.Context, *pb.ModelReadyRequest) (*pb.ModelReadyResponse, error)
	ServerMetadata(context.Context, *pb.ServerMetadataRequest) (*pb.ServerMetadataResponse, error)
	ModelMetadata(context.Context, *pb.ModelMetadataRequest) (*pb.ModelMetadataResponse, error)
	ModelInfer(context.Context, *InferRequest) (*InferResponse, error)
	ModelStreamInfer(Stream) error
	ModelConfig(context.Context, *pb.ModelConfigRequest) (*pb.ModelConfigResponse, error)
	ModelStatistics(context.Context, *pb.ModelStatisticsRequest) (*pb.ModelStatisticsResponse, error)
	RepositoryIndex(context.Context, *pb.RepositoryIndexRequest) (*pb.RepositoryIndexResponse, error)
	RepositoryModelLoad(context.Context, *pb.RepositoryModelLoadRequest) (*pb.RepositoryModelLoadResponse, error)
	RepositoryModelUnload(context.Context, *pb.RepositoryModelUnloadRequest) (*pb.RepositoryModelUnloadResponse, error)
	SystemSharedMemoryStatus(context.Context, *pb.SystemSharedMemoryStatusRequest) (*pb.SystemSharedMemoryStatusResponse, error)
	SystemSharedMemoryRegister(context.Context, *pb.SystemSharedMemoryRegisterRequest) (*pb.SystemSharedMemoryRegisterResponse, error)
	SystemSharedMemoryUnregister(context.Context, *pb.SystemSharedMemoryUnregisterRequest) (*pb.SystemSharedMemoryUnregisterResponse, error)
}

// Stream is one ModelStreamInfer. One goroutine at a time may receive, and one send.
type Stream interface {
	Context() context.Context
	// Recv returns the next request, which is the caller's to free; io.EOF: there are
	// no more.
	Recv() (*InferRequest, error)
	// Send takes the response.
	Send(*StreamResponse) error
}

// Service describes the service, for grpc.Server.RegisterService with a Server. Its
// grpc.Server has to use Codec.
func Service() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: pb.GRPCInferenceService_ServiceDesc.ServiceName,
		HandlerType: (*Server)(nil),
		Metadata:    pb.GRPCInferenceService_ServiceDesc.Metadata, // for reflection
		Methods: []grpc.MethodDesc{
			unary("ServerLive", Server.ServerLive),
			unary("ServerReady", Server.ServerReady),
			unary("ModelReady", Server.ModelReady),
			unary("ServerMetadata", Server.ServerMetadata),
			unary("ModelMetadata", Server.ModelMetadata),
			unary("ModelInfer", Server.ModelInfer),
			unary("ModelConfig", Server.ModelConfig),
			unary("ModelStatistics", Server.ModelStatistics),
			unary("RepositoryIndex", Server.RepositoryIndex),
			unary("RepositoryModelLoad", Server.RepositoryModelLoad),
			unary("RepositoryModelUnload", Server.RepositoryModelUnload),
			unary("SystemSharedMemoryStatus", Server.SystemSharedMemoryStatus),
			unary("SystemSharedMemoryRegister", Server.SystemSharedMemoryRegister),
			unary("SystemSharedMemoryUnregister", Server.SystemSharedMemoryUnregister),
		},
		Streams: []grpc.StreamDesc{{
			StreamName: "ModelStreamInfer",
			Handler: func(srv any, s grpc.ServerStream) error {
				return srv.(Server).ModelStreamInfer(stream{s})
			},
			ServerStreams: true,
			ClientStreams: true,
		}},
	}
}

// unary is what protoc-gen-go-grpc generates for a call.
func unary[Request, Response any](name string, call func(Server, context.Context, *Request) (*Response, error)) grpc.MethodDesc {
	full := "/" + pb.GRPCInferenceService_ServiceDesc.ServiceName + "/" + name
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := new(Request)
		if err := decode(in); err != nil {
			return nil, err
		}
		if interceptor == nil {
			return call(srv.(Server), ctx, in)
		}
		info := &grpc.UnaryServerInfo{Server: srv, FullMethod: full}
		return interceptor(ctx, in, info, func(ctx context.Context, in any) (any, error) {
			return call(srv.(Server), ctx, in.(*Request))
		})
	}}
}

type stream struct{ grpc.ServerStream }

var _ Stream = stream{}

func (s stream) Recv() (*InferRequest, error) {
	in := new(InferRequest)
	if err := s.RecvMsg(in); err != nil {
		return nil, err
	}
	return in, nil
}

func (s stream) Send(out *StreamResponse) error { return s.SendMsg(out) }
