// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Bench measures modelfs side by side with what people would use instead, and
// writes the tables and the plots of docs/benchmarks.md.
//
//	go run ./bench [--quick] [--only NAME,…] [--json FILE] [--markdown FILE] [--plots FOLDER]
//	go run ./bench --from FILE [--markdown FILE] [--plots FOLDER]
//
// With --from it measures nothing, and writes them of an earlier run's JSON.
//
// It runs as root, because it mounts. The inputs are made anew in a folder of its
// own on a disk (--dir), and everything it made is taken back at the end, also
// after a failure and after Ctrl-C: daemons, mounts, files, trace instances. What
// stays is build/modelfs, build/tools/ghz, and build/bench-venv and
// build/bench-serving-venv, the peers in Python.
//
// # How a figure comes about
//
// A measurement has contenders, modelfs and its peers. They take turns, one run
// each a round, and the first of them changes from round to round: what the
// machine does meanwhile happens to all of them, and nobody always comes after
// the same neighbour. Round 0 warms up and does not count. A figure is the median
// of the rounds, with the least and the most; a ratio is made within each round,
// and the median of those is held against the goal.
//
// Each run is a process of its own, a helper mode of this program or a script of
// peers/, that takes the time inside itself and says it as JSON: no start of a
// process or an interpreter is in any figure. A contender that proves to have
// done less than its name says (other bytes, fewer names, less memory than the
// file has) is an error, not a figure.
//
// # What is measured
//
//   - touch: every page of a resident file, mapped by a new process
//   - cold: a safetensors file that nobody has, until it is whole in memory
//   - open: open(2) and close(2) of a resident file, and what they cost in requests
//   - attach: open and mmap, by the size of the model
//   - tensors: a model of very many tensors: its list, the daemon's memory
//   - models: a source of very many models: ls, ls -lR
//   - headers: the list of a file's tensors, in each format, beside its own library's
//   - idle: what a daemon costs that nobody asks anything
//   - objects: whisper-base in Python, by get_or_load and open, beside
//     from_pretrained, safetensors and torch.load; in a Python that has torch,
//     see library
//   - frames: frames from process to process by a stream of a session, beside
//     pickle over a pipe, shared_memory, and Ray
//   - writing: cp into models/, and numpy into a session's mapping
//   - serving: a model over gRPC, its input by reference and in the message, one caller
//     and a hundred, beside MLServer and a plain server of grpc.aio; MiniLM with and
//     without batches, where there is torch
package main
