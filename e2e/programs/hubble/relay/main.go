// SPDX-License-Identifier: Apache-2.0

// Command relay is hubble-relay, unmodified: a test lets it ask our agents.
package main

import (
	"os"

	"github.com/cilium/cilium/hubble-relay/cmd"
)

func main() {
	if err := cmd.New().Execute(); err != nil {
		os.Exit(1)
	}
}
