// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Escape prints the paths of the names that it reads, as JSON. Names are
// hexadecimal, one a line.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"log"
	"os"

	"github.com/modelfs/modelfs/tensors"
)

func main() {
	paths := []string{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		name, err := hex.DecodeString(lines.Text())
		if err != nil {
			log.Fatal(err)
		}
		paths = append(paths, tensors.EscapePath(string(name)))
	}
	if err := json.NewEncoder(os.Stdout).Encode(paths); err != nil {
		log.Fatal(err)
	}
}
