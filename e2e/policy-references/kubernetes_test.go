// SPDX-License-Identifier: Apache-2.0

package references

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/kubernetes/test/e2e/framework"

	// Its tests are there by being imported.
	_ "k8s.io/kubernetes/test/e2e/network/netpol"
)

// notEvaluated are the tests that are not about the decision on a connection: creating, watching and deleting policies.
const notEvaluated = "Netpol API"

// ipv6 is set for the second run: a process can run the tests once.
const ipv6 = "TRILOBITE_REFERENCES_IPV6"

func TestKubernetesOwnTestsPass(t *testing.T) {
	isIPv6 := os.Getenv(ipv6) != ""
	server := startAPIServer(t, startEvaluator(t), isIPv6)
	useServer(t, server.URL)
	gomega.RegisterFailHandler(framework.Fail)
	var passed, skipped int
	ginkgo.ReportAfterSuite("counts", func(report ginkgo.Report) {
		for _, spec := range report.SpecReports {
			switch {
			case !spec.LeafNodeType.Is(types.NodeTypeIt):
			case spec.State.Is(types.SpecStatePassed):
				passed++
			default:
				skipped++
			}
		}
	})
	which, how := ginkgo.GinkgoConfiguration()
	which.SkipStrings = []string{notEvaluated}
	how.Succinct, how.NoColor = true, true
	ginkgo.RunSpecs(t, "Kubernetes' tests of NetworkPolicy", which, how)
	if passed < 45 || skipped > 9 {
		t.Errorf("%d passed, %d did not", passed, skipped)
	}
	fmt.Printf("\nKubernetes 1.37.2, test/e2e/network/netpol, %s: %d tests passed, %d are not about decisions (%s), %d probes\n",
		map[bool]string{false: "IPv4", true: "IPv6"}[isIPv6], passed, skipped, notEvaluated, server.probes)
	if !isIPv6 && !t.Failed() {
		again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
		again.Env = append(os.Environ(), ipv6+"=1")
		again.Stdout, again.Stderr = os.Stdout, os.Stderr
		if err := again.Run(); err != nil {
			t.Errorf("IPv6: %v", err)
		}
	}
}

// useServer sets what the flags of Kubernetes' test program set.
func useServer(t *testing.T, url string) {
	t.Helper()
	config := api.NewConfig()
	config.Clusters["references"] = &api.Cluster{Server: url}
	config.Contexts["references"] = &api.Context{Cluster: "references"}
	config.CurrentContext = "references"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	framework.TestContext.KubeConfig = path
	framework.TestContext.KubeAPIContentType = "application/json"
	framework.TestContext.CloudConfig.Provider = framework.NullProvider{}
	framework.TestContext.DeleteNamespace = true
	framework.TestContext.DeleteNamespaceOnFailure = true
	framework.TestContext.ClusterDNSDomain = "cluster.local"
	framework.TestContext.NodeOSDistro = "debian"
	// The server speaks SPDY, as kubelets do.
	t.Setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
}
