// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	rpc "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/modelfs/modelfs/workers/inference"
)

// TestHostile: whatever is sent to a server gets a code that says what is wrong with it,
// others are answered all the while, and afterwards the server has what it had before.
func TestHostile(t *testing.T) {
	p := newPlace(t, normal)
	p.writeModels("a")
	d := p.start("--allow-other")
	s := d.serve([]string{"echo=served_models:Echo", "scale=served_models:Scale", "stamp=stress_models:Stamp", "flood=stress_models:Flood"},
		"--allow-client-shm", "--max-tensor-bytes", "16MiB")
	if err := os.Chmod(s.socket, 0o666); err != nil { // who may connect is what its mode says
		t.Fatal(err)
	}
	lines := []string{
		"mkdir -m 700 @/sessions/hers && echo -n hello >@/sessions/hers/f && chmod 666 @/sessions/hers/f",
		"mkdir @/sessions/open && echo -n hello >@/sessions/open/f && chmod 644 @/sessions/open/f",
	}
	for _, line := range lines {
		if out, err := d.shellAs(alice, strings.ReplaceAll(line, "@", d.mount)); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	h := &hostile{server: s, alice: startReader(t, alice), bob: startReader(t, bob)}
	for _, r := range []*reader{h.alice, h.bob} { // the helpers that open for them are there from now on
		if got, err := r.infer("unix:"+s.socket, h.byPath("sessions/open/f", "UINT8", 5)); err != nil || got.Code != "OK" {
			t.Fatalf("the control: %+v %v", got, err)
		}
	}
	h.expect(t, "the control", request("echo", [][]byte{{1}}, tensorOf("x", "UINT8", 1)), codes.OK)
	pulse := s.pulse()
	before := s.measure()
	silent := h.silentConnections(t)
	t.Run("requests", h.requests)
	t.Run("bytes", h.bytes)
	t.Run("strangers", h.strangers)
	t.Run("shrinking regions", h.shrinking)
	t.Run("streams", h.streams)
	t.Run("slow readers", h.slowReaders)
	t.Run("killed clients", h.killed)
	t.Run("silent connections", silent)
	pulse.end(t)
	s.asBefore(before)
	h.alice.kill()
	h.bob.kill()
	if out, err := d.shellAs(alice, "rm -r "+d.at("sessions/hers")+" "+d.at("sessions/open")); err != nil {
		t.Errorf("%v %s", err, out)
	}
}

// hostile is a server and those who call it.
type hostile struct {
	*server
	alice, bob *reader
}

// byPath names a file of the mount as Echo's input.
func (h *hostile) byPath(path, datatype string, shape ...int64) *inference.ModelInferRequest {
	x := tensorOf("x", datatype, shape...)
	x.Parameters = pathParameters(path)
	return request("echo", nil, x)
}

// expect calls the server and compares the code.
func (h *hostile) expect(t *testing.T, what string, in *inference.ModelInferRequest, want codes.Code) {
	t.Helper()
	_, err := h.client().ModelInfer(h.context(), in)
	if got := rpc.Code(err); got != want {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func (h *hostile) requests(t *testing.T) {
	eight := make([]byte, 8)
	x := func(datatype string, shape ...int64) *inference.ModelInferRequest {
		return request("echo", [][]byte{eight}, tensorOf("x", datatype, shape...))
	}
	changed := func(in *inference.ModelInferRequest, change func(*inference.ModelInferRequest)) *inference.ModelInferRequest {
		change(in)
		return in
	}
	wide := make([]int64, 1000)
	for i := range wide {
		wide[i] = 1
	}
	for _, c := range []struct {
		what string
		in   *inference.ModelInferRequest
		want codes.Code
	}{
		{"the control", x("FP32", 2), codes.OK},
		{"more bytes than the shape", x("FP32", 1), codes.InvalidArgument},
		{"fewer bytes than the shape", x("FP32", 3), codes.InvalidArgument},
		{"a scalar of eight bytes", x("FP32"), codes.InvalidArgument},
		{"no element and eight bytes", x("FP32", 0), codes.InvalidArgument},
		{"unknown datatype", x("FP31", 2), codes.InvalidArgument},
		{"no datatype", x("", 2), codes.InvalidArgument},
		{"negative dimension", x("FP32", -2), codes.InvalidArgument},
		{"two negative dimensions", x("FP32", -1, -2), codes.InvalidArgument},
		{"overflow to eight bytes", x("FP32", 1<<62, 4, 1), codes.InvalidArgument},
		{"overflow to zero", x("FP64", 1<<32, 1<<32), codes.InvalidArgument},
		{"most of int64", x("UINT8", math.MaxInt64), codes.InvalidArgument},
		{"least of int64", x("UINT8", math.MinInt64), codes.InvalidArgument},
		{"a thousand dimensions", x("FP64", wide...), codes.InvalidArgument},
		{"a text longer than the rest", request("echo", [][]byte{{255, 255, 255, 127, 'a'}}, tensorOf("x", "BYTES", 1)), codes.InvalidArgument},
		{"fewer texts than the shape", request("echo", [][]byte{bytesElement("a")}, tensorOf("x", "BYTES", 2)), codes.InvalidArgument},
		{"texts without number", request("echo", [][]byte{eight}, tensorOf("x", "BYTES", 1<<60)), codes.InvalidArgument},
		{"an input without bytes", request("echo", [][]byte{eight}, tensorOf("x", "FP64", 1), tensorOf("y", "FP64", 1)), codes.InvalidArgument},
		{"bytes without an input", request("echo", [][]byte{eight, eight}, tensorOf("x", "FP64", 1)), codes.InvalidArgument},
		{"an input twice", request("echo", [][]byte{eight, eight}, tensorOf("x", "FP64", 1), tensorOf("x", "FP64", 1)), codes.InvalidArgument},
		{"raw and typed mixed", changed(request("echo", [][]byte{eight}, tensorOf("x", "FP64", 1), tensorOf("y", "FP64", 1)), func(in *inference.ModelInferRequest) {
			in.Inputs[1].Contents = &inference.InferTensorContents{Fp64Contents: []float64{1}}
		}), codes.InvalidArgument},
		{"raw and typed of one", changed(x("FP64", 1), func(in *inference.ModelInferRequest) {
			in.Inputs[0].Contents = &inference.InferTensorContents{Fp64Contents: []float64{1}}
		}), codes.InvalidArgument},
		{"typed in the wrong field", changed(x("FP64", 1), func(in *inference.ModelInferRequest) {
			in.RawInputContents, in.Inputs[0].Contents = nil, &inference.InferTensorContents{Int64Contents: []int64{1}}
		}), codes.InvalidArgument},
		{"typed and out of range", changed(x("INT8", 1), func(in *inference.ModelInferRequest) {
			in.RawInputContents, in.Inputs[0].Contents = nil, &inference.InferTensorContents{IntContents: []int32{1000}}
		}), codes.InvalidArgument},
		{"an input without name", request("echo", [][]byte{eight}, tensorOf("", "FP64", 1)), codes.InvalidArgument},
		{"a name with NUL", request("echo", [][]byte{eight}, tensorOf("a\x00b", "FP64", 1)), codes.InvalidArgument},
		{"a long name", request("echo", [][]byte{eight}, tensorOf(strings.Repeat("n", 100_000), "FP64", 1)), codes.InvalidArgument},
		{"an output twice", changed(x("FP64", 1), func(in *inference.ModelInferRequest) {
			o := &inference.ModelInferRequest_InferRequestedOutputTensor{Name: "x"}
			in.Outputs = append(in.Outputs, o, o)
		}), codes.InvalidArgument},
		{"an output that is not", changed(request("scale", [][]byte{eight}, tensorOf("x", "FP32", 1, 2)), func(in *inference.ModelInferRequest) {
			in.Outputs = append(in.Outputs, &inference.ModelInferRequest_InferRequestedOutputTensor{Name: "z"})
		}), codes.InvalidArgument},
		{"another datatype than the model's", request("scale", [][]byte{eight}, tensorOf("x", "FP64", 1, 1)), codes.InvalidArgument},
		{"more rows than a batch", request("scale", [][]byte{make([]byte, 132)}, tensorOf("x", "FP32", 33, 1)), codes.InvalidArgument},
		{"no rows", request("scale", [][]byte{nil}, tensorOf("x", "FP32", 0, 1)), codes.InvalidArgument},
		{"a sequence", changed(x("FP64", 1), func(in *inference.ModelInferRequest) {
			in.Parameters = map[string]*inference.InferParameter{"sequence_id": intParameter(1)}
		}), codes.Unimplemented},
		{"a negative timeout", changed(x("FP64", 1), func(in *inference.ModelInferRequest) {
			in.Parameters = map[string]*inference.InferParameter{"timeout": intParameter(-1)}
		}), codes.InvalidArgument},
		{"no such model", request("none", nil), codes.NotFound},
		{"a model that is a path", request("../echo", nil), codes.NotFound},
		{"no model", request("", nil), codes.InvalidArgument},
		{"no such version", changed(x("FP64", 1), func(in *inference.ModelInferRequest) { in.ModelVersion = "2" }), codes.NotFound},
		{"a model that streams", request("flood", [][]byte{make([]byte, 4)}, tensorOf("n", "INT32", 1)), codes.Unimplemented},
		{"more than a tensor may have", request("echo", [][]byte{make([]byte, 17<<20)}, tensorOf("x", "UINT8", 17<<20)), codes.ResourceExhausted},
		{"more than a message may have", request("echo", [][]byte{make([]byte, 100<<20)}, tensorOf("x", "UINT8", 100<<20)), codes.ResourceExhausted},
	} {
		h.expect(t, c.what, c.in, c.want)
	}
	_, err := h.client().RepositoryModelLoad(h.context(), &inference.RepositoryModelLoadRequest{ModelName: "echo", Parameters: map[string]*inference.ModelRepositoryParameter{
		"file:1/model.onnx": {ParameterChoice: &inference.ModelRepositoryParameter_BytesParam{BytesParam: []byte("x")}},
	}})
	if rpc.Code(err) != codes.Unimplemented {
		t.Errorf("a model's file in a request: %v", err)
	}
}

// strangers name what is not theirs, or is nobody's to name.
func (h *hostile) strangers(t *testing.T) {
	unix, tcp := "unix:"+h.socket, h.tcp
	withOffset := func(in *inference.ModelInferRequest, offset, size int64) *inference.ModelInferRequest {
		in.Inputs[0].Parameters["modelfs_offset"] = intParameter(offset)
		in.Inputs[0].Parameters["modelfs_byte_size"] = intParameter(size)
		return in
	}
	both := h.byPath("sessions/open/f", "UINT8", 5)
	both.Inputs[0].Contents = &inference.InferTensorContents{UintContents: []uint32{1, 2, 3, 4, 5}}
	into := request("echo", [][]byte{[]byte("HELLO")}, tensorOf("x", "UINT8", 5))
	into.Outputs = []*inference.ModelInferRequest_InferRequestedOutputTensor{{Name: "x", Parameters: pathParameters("sessions/open/f")}}
	for _, c := range []struct {
		what   string
		by     *reader
		target string
		in     *inference.ModelInferRequest
		want   codes.Code
	}{
		{"her own", h.alice, unix, h.byPath("sessions/hers/f", "UINT8", 5), codes.OK},
		{"another's session", h.bob, unix, h.byPath("sessions/hers/f", "UINT8", 5), codes.PermissionDenied},
		{"another's file that all may read", h.bob, unix, h.byPath("sessions/open/f", "UINT8", 5), codes.OK},
		{"into another's file", h.bob, unix, into, codes.PermissionDenied},
		{"into a file over TCP", h.alice, tcp, into, codes.PermissionDenied},
		{"over TCP without a token", h.alice, tcp, h.byPath("sessions/open/f", "UINT8", 5), codes.PermissionDenied},
		{"over TCP, of the server's own user", h.d.reader, tcp, h.byPath("sessions/open/f", "UINT8", 5), codes.PermissionDenied},
		{"a tensor", h.bob, unix, h.byPath("tensors/a/weight", "UINT8", small-128), codes.OK},
		{"a tensor of another shape", h.bob, unix, h.byPath("tensors/a/weight", "UINT8", 5), codes.InvalidArgument},
		{"a model's file", h.bob, unix, h.byPath("models/a/model.safetensors", "UINT8", 5), codes.InvalidArgument},
		{"..", h.bob, unix, h.byPath("sessions/open/../hers/f", "UINT8", 5), codes.InvalidArgument},
		{".. to the outside", h.bob, unix, h.byPath("sessions/../../../../etc/passwd", "UINT8", 5), codes.InvalidArgument},
		{"only ..", h.bob, unix, h.byPath("..", "UINT8", 5), codes.InvalidArgument},
		{"an absolute path", h.bob, unix, h.byPath("/etc/passwd", "UINT8", 5), codes.InvalidArgument},
		{"an absolute path in the mount", h.bob, unix, h.byPath(h.d.at("sessions/hers/f"), "UINT8", 5), codes.InvalidArgument},
		{"an empty path", h.bob, unix, h.byPath("", "UINT8", 5), codes.InvalidArgument},
		{"a path with NUL", h.bob, unix, h.byPath("sessions/open/f\x00", "UINT8", 5), codes.InvalidArgument},
		{"a folder", h.bob, unix, h.byPath("sessions/open", "UINT8", 5), codes.InvalidArgument},
		{"a file that is not", h.bob, unix, h.byPath("sessions/open/none", "UINT8", 5), codes.NotFound},
		{"more than the file has", h.alice, unix, h.byPath("sessions/hers/f", "UINT8", 6), codes.OutOfRange},
		{"behind the file", h.alice, unix, withOffset(h.byPath("sessions/hers/f", "UINT8", 5), 1<<40, 5), codes.OutOfRange},
		{"past 64 bits", h.alice, unix, withOffset(h.byPath("sessions/hers/f", "UINT8", 5), math.MaxInt64, 5), codes.InvalidArgument},
		{"a negative offset", h.alice, unix, withOffset(h.byPath("sessions/hers/f", "UINT8", 5), -1, 5), codes.InvalidArgument},
		{"another size than the shape", h.alice, unix, withOffset(h.byPath("sessions/hers/f", "UINT8", 5), 0, 4), codes.InvalidArgument},
		{"by reference with contents", h.alice, unix, both, codes.InvalidArgument},
		{"the server's own memory, which has no name", h.bob, unix, h.byPath("sessions/"+h.sessions()[0]+"/memory-1", "UINT8", 5), codes.NotFound},
	} {
		got, err := c.by.infer(c.target, c.in)
		if err != nil || got.Code != c.want.String() {
			t.Errorf("%s: %+v %v, want %v", c.what, got, err, c.want)
		}
		if c.want != codes.OK && strings.Contains(got.Message, "hello") {
			t.Errorf("%s: the answer tells the content: %s", c.what, got.Message)
		}
	}
}

// shrinking is system shared memory whose owner shrinks it while it is used, and that of
// others.
func (h *hostile) shrinking(t *testing.T) {
	const size = 1 << 20
	file := filepath.Join("/dev/shm", filepath.Base(h.dir)+"-region")
	if err := os.WriteFile(file, bytes.Repeat([]byte{7}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(file)
	if err := os.Chown(file, alice, alice); err != nil {
		t.Fatal(err)
	}
	register := func(r *reader, target, name, key string, offset, bytes uint64) string {
		t.Helper()
		in := must(proto.Marshal(&inference.SystemSharedMemoryRegisterRequest{Name: name, Key: key, Offset: offset, ByteSize: bytes}))(t)
		got, err := call[CallArgs, Called](r, "CallServer", CallArgs{Target: target, Regions: in, Limit: 2 * patience})
		if err != nil {
			t.Fatal(err)
		}
		return got.Code
	}
	at, key := "unix:"+h.socket, "/"+filepath.Base(file)
	for _, c := range []struct {
		by           *reader
		target, key  string
		offset, size uint64
		want         codes.Code
	}{
		{h.bob, at, key, 0, size, codes.PermissionDenied},
		{h.alice, h.tcp, key, 0, size, codes.PermissionDenied},
		{h.alice, at, "/../../etc/passwd", 0, 5, codes.InvalidArgument},
		{h.alice, at, "/none-" + filepath.Base(h.dir), 0, 5, codes.NotFound},
		{h.alice, at, key, 0, size + 1, codes.OutOfRange},
		{h.alice, at, key, math.MaxUint64, 2, codes.OutOfRange},
		{h.alice, at, key, 0, size, codes.OK},
		{h.alice, at, key, 0, size, codes.AlreadyExists},
	} {
		if got := register(c.by, c.target, "r", c.key, c.offset, c.size); got != c.want.String() {
			t.Errorf("register %d bytes at %d of %s: %s, want %v", c.size, c.offset, c.key, got, c.want)
		}
	}
	x := tensorOf("x", "UINT8", size)
	x.Parameters = map[string]*inference.InferParameter{"shared_memory_region": stringParameter("r"), "shared_memory_byte_size": intParameter(size)}
	in := request("echo", nil, x)
	if got, err := h.bob.infer(at, in); err != nil || got.Code != codes.NotFound.String() {
		t.Errorf("another's region: %+v %v", got, err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				_ = os.Truncate(file, int64(n%2)*size)
				time.Sleep(time.Duration(n%7) * 100 * time.Microsecond)
			}
		}
	}()
	codes := map[string]int{}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && (len(codes) < 2 || codes["OK"]+codes["OutOfRange"] < 50); {
		got, err := h.alice.infer(at, in)
		if err != nil {
			t.Fatal(err)
		}
		codes[got.Code]++
	}
	close(stop)
	<-stopped
	if codes["OK"]+codes["OutOfRange"] < 50 || codes["OutOfRange"] == 0 || len(codes) > 2 {
		t.Errorf("of a region that shrinks: %v", fmt.Sprint(codes))
	}
	if got, err := call[CallArgs, Called](h.alice, "CallServer", CallArgs{Target: at, Forget: true, Limit: 2 * patience}); err != nil || got.Code != "OK" {
		t.Errorf("unregister: %+v %v", got, err)
	}
}
