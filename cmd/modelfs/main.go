// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(newProgram().run(context.Background(), os.Args))
}
