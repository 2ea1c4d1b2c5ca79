// SPDX-License-Identifier: Apache-2.0

// Command coredns is CoreDNS with the plugins that the test cluster's Corefile names, and no others: the rest brings the
// libraries of five clouds, which take minutes to build. Its Kubernetes libraries are those of ../kube.
package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	coremain.Run()
}
