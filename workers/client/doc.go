// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package client calls models that modelfs serve, or any server of the Open Inference
// Protocol, serves.
//
//	c, err := client.Dial(ctx, client.Options{Model: "whisper-base"}) // found in the mount
//	…
//	defer c.Close()
//	r, err := c.Infer(ctx, &client.Request{Inputs: []client.Tensor{
//		{Name: "audio", Datatype: "FP32", Shape: []int64{1, 16000}, Data: samples},
//	}})
//	…
//	defer r.Free()
//	text := r.Output("text").Bytes()
//
// # Servers
//
// Without an address the mount says who serves (.modelfs/workers.json); servers of root
// and of one's own user are trusted, others are not called. Of several that serve the
// model, calls go round. Who reads it again when one is gone finds the one that was
// started in its place.
//
// # Tensors
//
// Bytes are sent from where they lie and received without being put together: neither
// end copies them. A tensor that lies in a file of the mount, below sessions/ or tensors/,
// is named by its path instead, and costs the same at any size. Outputs can go to
// a file, too.
//
// # Failures
//
// A call that fails with UNAVAILABLE was not answered and is safe to repeat: gRPC does, five
// times, growing pauses between. A server that is gone is waited for as long as the
// context lets it; a model that is there and does not work is an error at once, with
// the server's reason. A call whose outputs go to a file is never repeated, since the
// first attempt may still be writing there: the caller repeats it with another file.
// Errors are those of gRPC: status.Code says which. A call of a stream that fails is
// repeated by the caller, who knows what it was.
package client
