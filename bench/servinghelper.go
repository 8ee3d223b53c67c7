// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/modelfs/modelfs/workers/client"
	"github.com/modelfs/modelfs/workers/inference"
)

const (
	// servedModel is the name of all models that are called here, servedByte each byte
	// of their inputs, of which they add one of every page.
	servedModel = "sum"
	servedByte  = 7
	smallInput  = 1 << 10
	serverLimit = time.Minute // for the first answer
)

// helpInfer calls a server again and again with so many bytes, in the message or in a
// file of the mount.
func helpInfer(address string, bytes, warm, n int, path string) (answer, error) {
	x := client.Tensor{Name: "x", Datatype: "UINT8", Shape: []int64{int64(bytes)}, Path: path}
	if path == "" {
		x.Data = servedBytes(bytes)
	}
	c, err := client.Dial(context.Background(), client.Options{Address: address, Model: servedModel})
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	return repeated(warm, n, func(ctx context.Context) error {
		r, err := c.Infer(ctx, &client.Request{Inputs: []client.Tensor{x}})
		if err != nil {
			return err
		}
		defer r.Free()
		return servedSum(r, bytes)
	})
}

func servedBytes(n int) []byte { return slices.Repeat([]byte{servedByte}, n) }

// servedSum sees that a server has read its input.
func servedSum(r *client.Response, bytes int) error {
	out := r.Output("out")
	if out == nil || len(out.Bytes()) != 8 {
		return errors.New("no sum came back")
	}
	want := servedByte * uint64((bytes+pageSize-1)/pageSize)
	if got := binary.LittleEndian.Uint64(out.Bytes()); got != want {
		return fmt.Errorf("the sum is %d, want %d", got, want)
	}
	return nil
}

// helpAnswer has a server answer 1 KB itself: a list of its models, in a repository whose
// name is that long.
func helpAnswer(address string, warm, n int) (answer, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	server := inference.NewGRPCInferenceServiceClient(conn)
	ask := &inference.RepositoryIndexRequest{RepositoryName: strings.Repeat("x", smallInput)}
	return repeated(warm, n, func(ctx context.Context) error {
		r, err := server.RepositoryIndex(ctx, ask)
		if err == nil && len(r.Models) != 1 {
			err = fmt.Errorf("%d models", len(r.Models))
		}
		return err
	})
}

// repeated times a call, one after another. The first is made before, and may wait until
// the model is loaded.
func repeated(warm, n int, call func(context.Context) error) (answer, error) {
	debug.SetGCPercent(100) // as in a program that calls servers
	ctx, cancel := context.WithTimeout(context.Background(), serverLimit)
	defer cancel()
	if err := call(ctx); err != nil {
		return answer{}, err
	}
	a := answer{Samples: make([]float64, 0, n)}
	for i := range warm + n {
		began := time.Now()
		if err := call(context.Background()); err != nil {
			return a, err
		}
		if i >= warm {
			a.Samples = append(a.Samples, time.Since(began).Seconds())
		}
	}
	a.Seconds = series(a.Samples).median()
	return a, nil
}

// helpCallers has so many callers each make one call after another, and counts those that
// are answered.
func helpCallers(address, what string, callers, milliseconds int) (answer, error) {
	debug.SetGCPercent(400) // it shares the processors with the server
	c, err := client.Dial(context.Background(), client.Options{Address: address, Model: servedModel})
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	request, check, err := requestOf(what)
	if err != nil {
		return answer{}, err
	}
	first, cancel := context.WithTimeout(context.Background(), serverLimit)
	defer cancel()
	once := func(ctx context.Context) error {
		r, err := c.Infer(ctx, request)
		if err != nil {
			return err
		}
		defer r.Free()
		return check(r)
	}
	if err := once(first); err != nil {
		return answer{}, err
	}
	return closedLoop(callers, time.Duration(milliseconds)*time.Millisecond, once)
}

// requestOf is what callers send, by name, and what they see to in the answer.
func requestOf(what string) (*client.Request, func(*client.Response) error, error) {
	sum := func(r *client.Response) error { return servedSum(r, smallInput) }
	tensor := func(name, datatype string, data []byte, shape ...int64) *client.Request {
		return &client.Request{Inputs: []client.Tensor{{Name: name, Datatype: datatype, Shape: shape, Data: data}}}
	}
	switch what {
	case "vector":
		return tensor("x", "UINT8", servedBytes(smallInput), smallInput), sum, nil
	case "row":
		return tensor("x", "UINT8", servedBytes(smallInput), 1, smallInput), sum, nil
	case "ids":
		ids := make([]byte, 0, 8*minilmTokens)
		for i := range uint64(minilmTokens) {
			ids = binary.LittleEndian.AppendUint64(ids, 100+i)
		}
		return tensor("ids", "INT64", ids, 1, minilmTokens), func(r *client.Response) error {
			if out := r.Output("embedding"); out == nil || len(out.Bytes()) != 4*minilmWidth {
				return errors.New("no embedding came back")
			}
			return nil
		}, nil
	}
	return nil, nil, fmt.Errorf("no such request: %s", what)
}

// closedLoop runs callers for a time, after a tenth of it that does not count.
func closedLoop(callers int, length time.Duration, once func(context.Context) error) (answer, error) {
	var (
		all    sync.WaitGroup
		mu     sync.Mutex
		counts []float64
		errs   error
	)
	from := time.Now().Add(length / 10)
	until := from.Add(length)
	for range callers {
		all.Go(func() {
			var mine []float64
			var err error
			for now := time.Now(); err == nil && now.Before(until); {
				began := now
				err = once(context.Background())
				if now = time.Now(); began.After(from) && now.Before(until) {
					mine = append(mine, now.Sub(began).Seconds())
				}
			}
			mu.Lock()
			defer mu.Unlock()
			counts, errs = append(counts, mine...), errors.Join(errs, err)
		})
	}
	all.Wait()
	if errs != nil || len(counts) == 0 {
		return answer{}, errors.Join(errs, fmt.Errorf("%d calls were answered", len(counts)))
	}
	slices.Sort(counts)
	return answer{Seconds: length.Seconds(), Count: len(counts), P99: counts[len(counts)*99/100]}, nil
}
