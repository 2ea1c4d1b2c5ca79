// SPDX-License-Identifier: Apache-2.0

// Command hubble is the CLI that people have, built from its own module: the end-to-end tests ask with it what our
// agents and our relay answer.
package main

import (
	"fmt"
	"os"

	"github.com/cilium/cilium/hubble/cmd"
)

func main() {
	if err := cmd.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
