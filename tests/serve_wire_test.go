// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	rpc "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/modelfs/modelfs/workers/inference"
)

// CallArgs are a call that a process makes.
type CallArgs struct {
	Target  string
	Infer   []byte // a ModelInferRequest
	Regions []byte // or a SystemSharedMemoryRegisterRequest
	Forget  bool   // or all regions of the user
	Token   string
	Limit   time.Duration
}

// Called is what was answered.
type Called struct {
	Code     string // of gRPC, by name
	Message  string
	Response []byte // a ModelInferResponse
}

// CallServer calls a server as the reader's user.
func (*reading) CallServer(a CallArgs, got *Called) error {
	conn, err := grpc.NewClient(a.Target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(), grpc.WithDisableRetry())
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), a.Limit)
	defer cancel()
	client := inference.NewGRPCInferenceServiceClient(conn)
	switch {
	case a.Forget:
		_, err = client.SystemSharedMemoryUnregister(ctx, &inference.SystemSharedMemoryUnregisterRequest{})
	case a.Regions != nil:
		var in inference.SystemSharedMemoryRegisterRequest
		if err := proto.Unmarshal(a.Regions, &in); err != nil {
			return err
		}
		_, err = client.SystemSharedMemoryRegister(ctx, &in)
	default:
		var in inference.ModelInferRequest
		if err := proto.Unmarshal(a.Infer, &in); err != nil {
			return err
		}
		var out *inference.ModelInferResponse
		if out, err = client.ModelInfer(ctx, &in); err == nil {
			got.Response, err = proto.Marshal(out)
		}
	}
	got.Code, got.Message = rpc.Code(err).String(), rpc.Convert(err).Message()
	return nil
}

// infer has a reader call a server.
func (r *reader) infer(target string, in *inference.ModelInferRequest) (Called, error) {
	b, err := proto.Marshal(in)
	if err != nil {
		return Called{}, err
	}
	return call[CallArgs, Called](r, "CallServer", CallArgs{Target: target, Infer: b, Limit: 2 * patience})
}

// tensorOf is an input of raw contents.
func tensorOf(name, datatype string, shape ...int64) *inference.ModelInferRequest_InferInputTensor {
	return &inference.ModelInferRequest_InferInputTensor{Name: name, Datatype: datatype, Shape: shape}
}

// request is a call of a model with raw contents.
func request(model string, raw [][]byte, inputs ...*inference.ModelInferRequest_InferInputTensor) *inference.ModelInferRequest {
	return &inference.ModelInferRequest{ModelName: model, Inputs: inputs, RawInputContents: raw}
}

// stamp is a call of the model Stamp: it takes so long, and is answered by digestOf.
func stamp(model string, id int64, text string, took time.Duration) *inference.ModelInferRequest {
	le := binary.LittleEndian
	raw := [][]byte{le.AppendUint64(nil, uint64(id)), bytesElement(text), le.AppendUint32(nil, uint32(took.Milliseconds()))}
	in := request(model, raw, tensorOf("id", "INT64", 1), tensorOf("text", "BYTES", 1), tensorOf("ms", "INT32", 1))
	in.Id = fmt.Sprint(id)
	return in
}

// bytesElement is one element of a BYTES tensor.
func bytesElement(text string) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...)
}

// pathParameters name a file of the mount instead of bytes.
func pathParameters(path string) map[string]*inference.InferParameter {
	return map[string]*inference.InferParameter{"modelfs_path": stringParameter(path)}
}

func stringParameter(s string) *inference.InferParameter {
	return &inference.InferParameter{ParameterChoice: &inference.InferParameter_StringParam{StringParam: s}}
}

func intParameter(n int64) *inference.InferParameter {
	return &inference.InferParameter{ParameterChoice: &inference.InferParameter_Int64Param{Int64Param: n}}
}
