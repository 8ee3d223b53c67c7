// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Command write puts the collection of attacks into a folder, for other tools.
//
//	go run ./tests/attacks/write DIR
package main

import (
	"fmt"
	"os"

	"github.com/modelfs/modelfs/tests/attacks"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: write DIR")
		os.Exit(2)
	}
	if err := attacks.Write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "write:", err)
		os.Exit(1)
	}
}
