// SPDX-License-Identifier: Apache-2.0

// Command tetra is the part of the CLI that people have which reads an agent: getevents, sensors, status and
// version, from its own module. What needs pkg/k8s (tracingpolicy) cannot be built outside its repository.
package main

import (
	"os"
	"time"

	"github.com/cilium/tetragon/cmd/tetra/common"
	"github.com/cilium/tetragon/cmd/tetra/getevents"
	"github.com/cilium/tetragon/cmd/tetra/sensors"
	"github.com/cilium/tetragon/cmd/tetra/status"
	"github.com/cilium/tetragon/cmd/tetra/version"
	"github.com/cilium/tetragon/pkg/defaults"
	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{Use: "tetra", SilenceUsage: true}
	root.SetOut(os.Stdout)
	root.AddCommand(getevents.New(), sensors.New(), status.New(), version.New())
	flags := root.PersistentFlags()
	flags.StringVar(&common.ServerAddress, common.KeyServerAddress, "", "gRPC server address")
	flags.DurationVar(&common.Timeout, common.KeyTimeout, 30*time.Second, "connection timeout")
	flags.IntVar(&common.Retries, common.KeyRetries, 1, "connection retries, with exponential backoff")
	flags.IntVar(&common.MaxRecvMsgSize, common.KeyMaxRecvMsgSize, defaults.DefaultMaxGRPCRecvMsgSize, "largest gRPC message in bytes")
	if root.Execute() != nil {
		os.Exit(1)
	}
}
