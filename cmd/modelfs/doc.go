// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Command modelfs mounts folders of models: each model is read once into shared
// memory, and every process that opens it maps the same pages.
//
// # Shape
//
// One file and one test for each command. `mount` turns its flags into one
// daemon.Config and runs the daemon; `inspect`, `doctor`, `demo` and the
// documentation commands need no mount. All others talk to the daemon through
// the mount and in no other way: they read .modelfs/status.json and ps.json, and
// read and set attributes of models/<model>. Who may do what is therefore the
// kernel's permission check on those files, and nothing here has a socket.
//
// A program value holds what the commands need of the process (streams,
// environment, the mount table's path, attributes); tests make their own.
//
// # Errors
//
// A command returns an error and prints nothing about it; run prints it once, as
// "modelfs: …", and turns it into the exit code: 0 done, 1 failed, 2 wrong usage
// (a usageError). Messages say what was wrong, where, and what to do.
//
// # Memory and processes
//
// Nothing here maps model memory but the demo's readers, each a process of its
// own. `mount --daemon` starts this program again in a session of its own and
// waits on a pipe until that one is ready.
package main
