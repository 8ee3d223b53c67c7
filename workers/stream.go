// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/status"

	"github.com/modelfs/modelfs/workers/inference"
	"github.com/modelfs/modelfs/workers/internal/wire"
)

// maxStreamed is how many calls of one stream run or wait at a time: then the next one
// is not read yet, which the client's flow control feels.
const maxStreamed = 64

// ModelStreamInfer answers the calls of a stream, each as soon as its answers are there:
// in any order between calls, in the handler's for one. A call that fails gives one
// response with error_message, and the stream goes on. The message has no place for a
// code: it is the parameter modelfs_code, which other clients pass over.
//
// A request with the parameter triton_enable_empty_final_response gets a last response
// without outputs; triton_final_response says of each whether it is the last.
func (s *Server) ModelStreamInfer(stream wire.Stream) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	out := &sender{stream: stream, cancel: cancel}
	var calls sync.WaitGroup
	defer calls.Wait()
	slots := make(chan struct{}, maxStreamed)
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			calls.Wait()
			return failure(out.error())
		}
		if err != nil {
			cancel()
			return err
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			in.Free()
			return failure(errors.Join(out.error(), ctx.Err()))
		}
		calls.Go(func() {
			s.streamed(ctx, in, out)
			<-slots
		})
	}
}

// Answers of one call that wait to be sent, and how long a handler waits when they are
// all there: a client that does not read must not keep a handler from others.
const (
	maxUnsent  = 16
	stallLimit = 10 * time.Second
)

// streamed runs one call of a stream.
func (s *Server) streamed(ctx context.Context, in *wire.InferRequest, out *sender) {
	s.calls.begin()
	defer s.calls.end()
	start := time.Now()
	id, name := in.Message.GetId(), in.Message.GetModelName()
	emptyFinal := in.Message.GetParameters()[emptyFinalParameter].GetBoolParam()
	delete(in.Message.GetParameters(), emptyFinalParameter)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answers := make(chan *answer, maxUnsent)
	p, m, err := s.accept(ctx, in, func(a *answer) error { return hand(ctx, cancel, answers, a) }, true)
	final := false
	if err == nil {
		final, err = p.sendAnswers(ctx, answers, out)
		m.stats.ended(err, since(start))
	}
	last := &wire.InferResponse{Message: &inference.ModelInferResponse{Id: id, ModelName: name, Parameters: finalResponse(true)}}
	switch {
	case err != nil:
		failed := status.Convert(failure(err))
		last.Message.Parameters[codeParameter] = &inference.InferParameter{
			ParameterChoice: &inference.InferParameter_Int64Param{Int64Param: int64(failed.Code())},
		}
		out.send(&wire.StreamResponse{ErrorMessage: failed.Message(), Response: last})
	case emptyFinal && !final:
		last.Message.ModelVersion = version
		out.send(&wire.StreamResponse{Response: last})
	}
}

const (
	emptyFinalParameter = "triton_enable_empty_final_response"
	codeParameter       = "modelfs_code" // gRPC's number of it
)

// hand gives an answer to who sends it.
func hand(ctx context.Context, cancel context.CancelCauseFunc, answers chan<- *answer, a *answer) error {
	select {
	case answers <- a:
		return nil
	default:
	}
	stalled := time.NewTimer(stallLimit)
	defer stalled.Stop()
	select {
	case answers <- a:
		return nil
	case <-ctx.Done():
		a.release()
		return context.Cause(ctx)
	case <-stalled.C:
		a.release()
		err := fmt.Errorf("%w: %d answers wait for %v to be read", ErrStalled, maxUnsent, stallLimit)
		cancel(err)
		return err
	}
}

// sendAnswers sends a call's answers until it is over; final says that the last of them
// had outputs, and said that it is the last.
func (p *pending) sendAnswers(ctx context.Context, answers <-chan *answer, out *sender) (final bool, err error) {
	send := func(a *answer) {
		if len(a.outputs) == 0 { // the end of a decoupled call
			a.release()
			return
		}
		final = a.final
		r := p.encode(a)
		r.Message.Parameters = finalResponse(a.final)
		out.send(&wire.StreamResponse{Response: r})
	}
	for {
		select {
		case a := <-answers:
			send(a)
			continue
		case <-p.ended:
		}
		for len(answers) > 0 { // nobody adds any more
			send(<-answers)
		}
		if p.err != nil && ctx.Err() != nil {
			return final, context.Cause(ctx)
		}
		return final, p.err
	}
}

func finalResponse(final bool) map[string]*inference.InferParameter {
	return map[string]*inference.InferParameter{
		"triton_final_response": {ParameterChoice: &inference.InferParameter_BoolParam{BoolParam: final}},
	}
}

// sender writes the responses of a stream, one at a time. After the first failure
// nothing is written, and the calls of the stream are cancelled.
type sender struct {
	stream wire.Stream
	cancel func()

	mu  sync.Mutex
	err error // guarded by mu
}

func (s *sender) send(r *wire.StreamResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		r.Free()
		return
	}
	if s.err = s.stream.Send(r); s.err != nil {
		s.cancel()
	}
}

func (s *sender) error() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
