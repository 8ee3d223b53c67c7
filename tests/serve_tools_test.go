// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/workers/inference"
)

// tool is a program of the module in tools, which make test builds.
func tool(t testing.TB, name string) string {
	t.Helper()
	path := must(filepath.Abs(filepath.Join("../build/tools", name)))(t)
	if _, err := os.Stat(path); err != nil {
		build := exec.Command("make", "-s", "-C", "..", "build/tools/"+name)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("make build/tools/%s: %v\n%s", name, err, out)
		}
	}
	return path
}

// TestTools: grpcurl and grpc_health_probe, which know nothing of modelfs, work with it.
func TestTools(t *testing.T) {
	p := newPlace(t, normal)
	d := p.start()
	s := d.serve([]string{"echo=served_models:Echo", "scale=served_models:Scale"}, "--max-batch", "4")
	t.Run("grpcurl", func(t *testing.T) { testGrpcurl(t, s) })
	t.Run("health", func(t *testing.T) { testHealthProbe(t, s) })
}

func testGrpcurl(t *testing.T, s *server) {
	program := tool(t, "grpcurl")
	run := func(args ...string) (string, string, int) {
		t.Helper()
		return runCommand(t, exec.Command(program, append([]string{"-plaintext"}, args...)...))
	}
	for _, at := range []string{"unix:" + s.socket, s.tcp} {
		out, stderr, code := run(at, "list")
		if want := "grpc.health.v1.Health\ngrpc.reflection.v1.ServerReflection\ngrpc.reflection.v1alpha.ServerReflection\ninference.GRPCInferenceService\n"; out != want || code != 0 {
			t.Errorf("%s: list exits %d: %s%s", at, code, out, stderr)
		}
	}
	at := "unix:" + s.socket
	out, _, code := run(at, "list", "inference.GRPCInferenceService")
	for _, method := range []string{
		"ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "ModelStreamInfer", "ModelConfig", "ModelStatistics",
		"RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister",
	} {
		if !strings.Contains(out, "inference.GRPCInferenceService."+method+"\n") || code != 0 {
			t.Errorf("list has no %s: %d %s", method, code, out)
		}
	}
	for what, want := range map[string]string{
		"inference.GRPCInferenceService":                   "rpc ModelInfer ( .inference.ModelInferRequest ) returns ( .inference.ModelInferResponse )",
		"inference.ModelInferRequest":                      "repeated bytes raw_input_contents = 7",
		"inference.ModelMetadataResponse.TensorMetadata":   "repeated int64 shape = 3",
		"inference.GRPCInferenceService.ModelStreamInfer":  "returns ( stream .inference.ModelStreamInferResponse )",
		"inference.RepositoryIndexResponse.ModelIndex":     "string state = 3",
		"inference.ModelInferResponse.InferOutputTensor":   "string datatype = 2",
		"inference.SystemSharedMemoryRegisterRequest":      "uint64 byte_size = 4",
		"grpc.health.v1.HealthCheckResponse.ServingStatus": "SERVICE_UNKNOWN = 3",
	} {
		if out, stderr, code := run(at, "describe", what); code != 0 || !strings.Contains(out, want) {
			t.Errorf("describe %s exits %d, without %q: %s%s", what, code, want, out, stderr)
		}
	}
	testGrpcurlCalls(t, s, run)
}

func testGrpcurlCalls(t *testing.T, s *server, run func(...string) (string, string, int)) {
	const infer = "inference.GRPCInferenceService/ModelInfer"
	var row []byte
	for _, v := range []float32{1.5, -2, 3} {
		row = binary.LittleEndian.AppendUint32(row, math.Float32bits(v))
	}
	raw := base64.StdEncoding.EncodeToString(row)
	for what, in := range map[string]string{
		"raw":   `{"model_name": "scale", "id": "7", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3]}], "raw_input_contents": ["` + raw + `"]}`,
		"typed": `{"model_name": "scale", "id": "7", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "contents": {"fp32_contents": [1.5, -2, 3]}}]}`,
	} {
		for _, at := range []string{"unix:" + s.socket, s.tcp} {
			out, stderr, code := run("-d", in, at, infer)
			var got struct {
				ID      string `json:"id"`
				Outputs []struct {
					Name, Datatype string
					Shape          []string
				}
				Raw [][]byte `json:"rawOutputContents"`
			}
			if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
				t.Errorf("%s: exits %d: %v %s", what, code, err, stderr)
				continue
			}
			if got.ID != "7" || len(got.Outputs) != 2 || got.Outputs[0].Datatype != "FP32" || strings.Join(got.Outputs[0].Shape, ",") != "1,3" || len(got.Raw) != 2 {
				t.Fatalf("%s: %s", what, out)
			}
			for i, want := range []float32{4.5, -6, 9} {
				if v := math.Float32frombits(binary.LittleEndian.Uint32(got.Raw[0][4*i:])); v != want {
					t.Errorf("%s: y[%d] is %v, want %v", what, i, v, want)
				}
			}
		}
	}
	// grpcurl exits with 64 and the code.
	for _, c := range []struct {
		in, method, says string
		exit             int
	}{
		{`{"model_name": "none", "inputs": []}`, infer, "NotFound", 64 + 5},
		{`{"model_name": "scale", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4]}], "raw_input_contents": ["` + raw + `"]}`, infer, "InvalidArgument", 64 + 3},
		{`{"name": "none"}`, "inference.GRPCInferenceService/ModelMetadata", "NotFound", 64 + 5},
		{`{"model_name": "scale", "parameters": {"x": {"string_param": "y"}}}`, "inference.GRPCInferenceService/RepositoryModelLoad", "Unimplemented", 64 + 12},
		{`{"modelName": "scale"}`, "inference.GRPCInferenceService/NoSuchMethod", "does not include a method", 1},
	} {
		if out, stderr, code := run("-d", c.in, "unix:"+s.socket, c.method); code != c.exit || !strings.Contains(stderr, c.says) {
			t.Errorf("%s of %s exits %d, want %d and %s: %s%s", c.method, c.in, code, c.exit, c.says, out, stderr)
		}
	}
	// Who is not known loads and unloads nothing.
	if _, stderr, code := run("-d", `{"model_name": "echo"}`, s.tcp, "inference.GRPCInferenceService/RepositoryModelUnload"); code != 64+7 {
		t.Errorf("unload over TCP exits %d: %s", code, stderr)
	}
}

// The exit codes of grpc_health_probe.
const (
	serving       = 0
	noConnection  = 2
	rpcFailed     = 3
	notServing    = 4
	probePatience = "-rpc-timeout=60s"
)

func testHealthProbe(t *testing.T, s *server) {
	program := tool(t, "grpc-health-probe")
	probe := func(addr, service string) (string, int) {
		t.Helper()
		args := []string{"-addr=" + addr, "-connect-timeout=60s", probePatience}
		if service != "" {
			args = append(args, "-service="+service)
		}
		out, stderr, code := runCommand(t, exec.Command(program, args...))
		return out + stderr, code
	}
	addresses := []string{"unix:" + s.socket, s.tcp}
	for _, at := range addresses {
		for service, want := range map[string]int{
			"": serving, "echo": serving, "scale": serving, "inference.GRPCInferenceService": serving, "none": rpcFailed, "grpc.health.v1.Health": rpcFailed,
		} {
			if said, code := probe(at, service); code != want {
				t.Errorf("%s, service %q: exits %d, want %d: %s", at, service, code, want, said)
			}
		}
	}
	c := s.client()
	if _, err := c.RepositoryModelUnload(s.context(), &inference.RepositoryModelUnloadRequest{ModelName: "echo"}); err != nil {
		t.Fatal(err)
	}
	for _, at := range addresses {
		// What somebody unloaded on purpose is not what the server is missing.
		for service, want := range map[string]int{"": serving, "echo": notServing, "scale": serving} {
			if said, code := probe(at, service); code != want {
				t.Errorf("after an unload %s, service %q: exits %d, want %d: %s", at, service, code, want, said)
			}
		}
	}
	if _, err := c.RepositoryModelLoad(s.context(), &inference.RepositoryModelLoadRequest{ModelName: "echo"}); err != nil {
		t.Fatal(err)
	}
	if said, code := probe(s.tcp, "echo"); code != serving {
		t.Errorf("after it was loaded again: %d %s", code, said)
	}
	s.end()
	if said, code := probeAt(t, program, "unix:"+s.socket); code != noConnection {
		t.Errorf("without a server: %d %s", code, said)
	}
}

func probeAt(t *testing.T, program, addr string) (string, int) {
	t.Helper()
	_, stderr, code := runCommand(t, exec.Command(program, "-addr="+addr, "-connect-timeout=100ms", probePatience))
	return stderr, code
}
