// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"log/slog"
	"os"
	"time"
)

// Config is what a server is made of.
type Config struct {
	Version string
	// Mount is where modelfs is mounted; "": there is none. Then models are made by
	// handlers alone, and nothing is by reference but system shared memory.
	Mount  string
	Models []Model
	// Listen are addresses: unix:/PATH or HOST:PORT.
	Listen []string
	// SocketMode is that of Unix sockets: who may write one may call. 0: 0660.
	SocketMode os.FileMode
	HTTP       string // HOST:PORT of metrics and health; "": none

	Python string // the interpreter of handlers; "": VIRTUAL_ENV's, or the one in PATH

	Handlers  int // of each model
	MaxBatch  int
	MaxDelay  time.Duration
	Preferred []int
	MaxQueue  int
	Levels    uint64 // of priority
	// QueueTimeout is how long a call may wait, Limit how long a handler may take for
	// it, StartLimit how long it may load. 0: no limit, but for StartLimit.
	QueueTimeout, Limit, StartLimit time.Duration
	Memory                          int64 // of a handler's own; 0: no limit
	MaxTensorBytes                  int64
	TensorMemory                    int64         // for all calls together; 0: half of what is available
	Grace                           time.Duration // for calls that run when it is told to end

	AllowClientSharedMemory bool
	Tokens                  string // a file: TOKEN USER in each line
	TLS                     TLS
	Traces                  bool // an OpenTelemetry endpoint is configured

	// Hurry, when it is closed, ends the grace period; nil: it is not.
	Hurry <-chan struct{}
	// Helper is the command that opens files as another user: see package reference.
	Helper []string
	Log    *slog.Logger
}

// TLS names the files of TCP's encryption; all empty: none.
type TLS struct {
	Certificate, Key string
	// ClientCA has clients show a certificate of it. Users says which user of this
	// machine a certificate's name is: NAME=USER.
	ClientCA string
	Users    []string
}

// Model is one that is to be served.
type Model struct {
	Name string
	// Handler is MODULE:CLASS, or the name of an .onnx file of the model, or "": the
	// model's only .onnx file.
	Handler string
}
