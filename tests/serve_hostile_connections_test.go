// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package tests_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	rpc "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/modelfs/modelfs/workers/inference"
)

// bytes are messages that are no messages, in the protocol and below it.
func (h *hostile) bytes(t *testing.T) {
	conn := dial(t, "unix:"+h.socket, grpc.WithDefaultCallOptions(grpc.ForceCodec(asItIs{})))
	long := binary.AppendUvarint([]byte{5<<3 | 2}, 1<<62) // a field that is longer than all there is
	deep := []byte{}
	for range 20_000 { // groups in groups, which no message of ours has
		deep = append(deep, 15<<3|3)
	}
	for what, message := range map[string][]byte{
		"noise":            {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"a field cut off":  {7<<3 | 2, 100, 1, 2, 3},
		"an endless field": long,
		"groups":           deep,
		"not UTF-8":        {1<<3 | 2, 2, 0xff, 0xfe},
		"wire type 7":      {1<<3 | 7, 0},
	} {
		var out []byte
		err := conn.Invoke(h.context(), inference.GRPCInferenceService_ModelInfer_FullMethodName, &message, &out)
		if c := rpc.Code(err); c != codes.Internal && c != codes.InvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
	}
	var out []byte
	empty := []byte{}
	if err := conn.Invoke(h.context(), "/inference.GRPCInferenceService/None", &empty, &out); rpc.Code(err) != codes.Unimplemented {
		t.Errorf("a method that is not: %v", err)
	}
}

// asItIs is a codec for what somebody else has encoded, rightly or not.
type asItIs struct{}

func (asItIs) Name() string                    { return "proto" }
func (asItIs) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (asItIs) Unmarshal(b []byte, v any) error { *v.(*[]byte) = b; return nil }

// streams opens ten thousand of them and leaves them, with all of a connection that is
// closed, and one after the other.
func (h *hostile) streams(t *testing.T) {
	const many = 10_000
	ctx, cancel := context.WithCancel(h.context())
	defer cancel()
	conn := dial(t, "unix:"+h.socket)
	c := inference.NewGRPCInferenceServiceClient(conn)
	for i := range many {
		if _, err := c.ModelStreamInfer(ctx); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	h.await("the server has them all", func() bool { return h.metric("go_goroutines") >= many })
	h.expect(t, "another client meanwhile", stamp("stamp", 1, "x", 0), codes.OK)
	// One more than a connection may have waits for one that ends, and harms nobody.
	short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	if s, err := c.ModelStreamInfer(short); err == nil {
		_ = s.Send(stamp("stamp", 2, "x", 0))
		if _, err := s.Recv(); err == nil {
			t.Error("a connection has more than ten thousand streams")
		}
	}
	conn.Close()
	h.await("the server has forgotten them", func() bool { return h.metric("go_goroutines") < many/10 })
	again := inference.NewGRPCInferenceServiceClient(dial(t, "unix:"+h.socket))
	for i := range 200 { // left in the middle of calls, each in another way
		ctx, cancel := context.WithCancel(h.context())
		s, err := again.ModelStreamInfer(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for range i % 8 {
			_ = s.Send(stamp("stamp", 3, "x", 0))
		}
		if i%3 == 0 {
			_ = s.CloseSend()
		}
		if i%2 == 0 && i%8 > 0 {
			_, _ = s.Recv()
		}
		cancel()
	}
}

// slowReaders do not read what they asked for: a handler that they keep waiting is
// others' again after a while, and their answers do not keep the memory for ever.
func (h *hostile) slowReaders(t *testing.T) {
	ctx, cancel := context.WithCancel(h.context())
	defer cancel()
	number := func(n uint32) *inference.ModelInferRequest {
		return request("flood", [][]byte{binary.LittleEndian.AppendUint32(nil, n)}, tensorOf("n", "INT32", 1))
	}
	// One that opens a stream, asks, and never receives.
	never := must(h.another(t).ModelStreamInfer(ctx))(t)
	if err := never.Send(number(4000)); err != nil {
		t.Fatal(err)
	}
	// Some that ask for a large answer, on connections from which nothing is taken.
	var stalled []*pipe
	var calls sync.WaitGroup
	for range 3 {
		p := newPipe(t, h.socket, 1<<20)
		stalled = append(stalled, p)
		c := inference.NewGRPCInferenceServiceClient(dial(t, "unix:"+p.path))
		calls.Go(func() {
			in := request("echo", [][]byte{make([]byte, 8<<20)}, tensorOf("x", "UINT8", 8<<20))
			if _, err := c.ModelInfer(ctx, in); err == nil {
				t.Error("an answer came through a pipe that is blocked")
			}
		})
	}
	h.await("their answers wait", func() bool { return h.metric(taken) >= 3*8<<20 })
	h.expect(t, "another client meanwhile", request("echo", [][]byte{make([]byte, 8)}, tensorOf("x", "UINT8", 8)), codes.OK)
	// The flood's only handler waits for its reader, and is then somebody else's.
	other := must(h.another(t).ModelStreamInfer(ctx))(t)
	if err := errors.Join(other.Send(number(3)), other.CloseSend()); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		r, err := other.Recv()
		if err != nil || r.GetErrorMessage() != "" || r.GetInferResponse().GetRawOutputContents()[0][0] != byte(i) {
			t.Fatalf("answer %d of another stream: %v %v", i, err, r.GetErrorMessage())
		}
	}
	for _, p := range stalled {
		p.close()
	}
	calls.Wait()
	cancel()
	h.await("the memory is free again", func() bool { return h.metric(taken) == 0 })
}

const taken = `modelfs_inference_memory_bytes{state="taken"}`

// pipe is a Unix socket that hands on to another, and stops to take from that after some
// bytes.
type pipe struct {
	path  string
	l     net.Listener
	mu    sync.Mutex
	conns []net.Conn
	done  sync.WaitGroup
}

func newPipe(t *testing.T, to string, most int64) *pipe {
	t.Helper()
	dir := must(os.MkdirTemp("", "mfs-pipe"))(t) //nolint:usetesting // TempDir's is too long for a socket
	p := &pipe{path: dir + "/s"}
	p.l = must(net.Listen("unix", p.path))(t)
	t.Cleanup(func() { p.close(); os.RemoveAll(dir) })
	p.done.Go(func() {
		for {
			in, err := p.l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", to)
			if err != nil {
				in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			p.done.Go(func() { _, _ = io.Copy(out, in) })
			p.done.Go(func() { _, _ = io.CopyN(in, out, most) })
		}
	})
	return p
}

// close breaks its connections.
func (p *pipe) close() {
	p.l.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.done.Wait()
}

// killed are clients that are killed while they call, and while they still send.
func (h *hostile) killed(t *testing.T) {
	before := h.metric(`modelfs_inference_requests_total{model="stamp",result="failure"}`)
	r := startReader(t, alice)
	long := strings.Repeat("x", 1<<20) // what is large lies ready for no handler, it waits
	for range 2 {
		go func() { _, _ = r.infer("unix:"+h.socket, stamp("stamp", 1, long, 2*time.Second)) }()
	}
	h.await("a call runs and one waits", func() bool { return h.metric(`modelfs_inference_waiting{model="stamp"}`) == 1 })
	r.kill()
	h.await("both calls failed", func() bool {
		return h.metric(`modelfs_inference_requests_total{model="stamp",result="failure"}`) == before+2
	})
	message := must(proto.Marshal(request("echo", [][]byte{make([]byte, 8<<20)}, tensorOf("x", "UINT8", 8<<20))))(t)
	for range 5 {
		c := must(net.Dial("unix", h.socket))(t)
		sendHalf(t, c, message)
		c.Close()
	}
	h.await("the memory is free again", func() bool { return h.metric(taken) == 0 })
}

// sendHalf is a client's end of HTTP/2 that dies in the middle of its message.
func sendHalf(t *testing.T, c net.Conn, message []byte) {
	t.Helper()
	frame := func(kind, flags byte, stream uint32, body []byte) []byte {
		head := []byte{byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body)), kind, flags}
		return append(binary.BigEndian.AppendUint32(head, stream), body...)
	}
	literal := func(name, value string) []byte { // HPACK, without Huffman and index
		return append(append([]byte{0, byte(len(name))}, name...), append([]byte{byte(len(value))}, value...)...)
	}
	var head []byte
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", inference.GRPCInferenceService_ModelInfer_FullMethodName}, {":authority", "x"},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		head = append(head, literal(f[0], f[1])...)
	}
	out := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(4, 0, 0, nil)...)
	out = append(out, frame(1, 4, 1, head)...)
	body := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	for half := body[:min(len(body)/2, 4<<20)]; len(half) > 0; {
		n := min(len(half), 16<<10)
		out = append(out, frame(0, 0, 1, half[:n])...)
		half = half[n:]
	}
	if _, err := c.Write(out); err != nil {
		t.Error(err)
	}
}

// silentConnections opens connections that say nothing, begin and say no more, or say
// something that is not gRPC. The returned test sees that the server ends them.
func (h *hostile) silentConnections(t *testing.T) func(*testing.T) {
	var conns []net.Conn
	for i := range 300 {
		network, at := "unix", h.socket
		if i%2 == 0 {
			network, at = "tcp", h.tcp
		}
		c := must(net.Dial(network, at))(t)
		t.Cleanup(func() { c.Close() })
		if i%3 == 0 {
			if _, err := c.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM"[:1+i%20])); err != nil {
				t.Fatal(err)
			}
		}
		conns = append(conns, c)
	}
	for _, text := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
		c := must(net.Dial("tcp", h.tcp))(t)
		t.Cleanup(func() { c.Close() })
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	return func(t *testing.T) {
		for i, c := range conns {
			if !hangsUp(c) {
				t.Fatalf("connection %d is open yet", i)
			}
			c.Close()
		}
	}
}

// hangsUp waits until the other end has closed a connection.
func hangsUp(c net.Conn) bool {
	if err := c.SetReadDeadline(time.Now().Add(4 * patience)); err != nil {
		return false
	}
	_, err := io.Copy(io.Discard, c)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}
