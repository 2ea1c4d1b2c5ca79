// SPDX-License-Identifier: Apache-2.0

package references

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/network-policy-api/apis/v1beta1"
	"sigs.k8s.io/network-policy-api/conformance/tests"
	"sigs.k8s.io/network-policy-api/conformance/utils/config"
	"sigs.k8s.io/network-policy-api/conformance/utils/suite"
)

func TestConformanceOfClusterNetworkPolicy(t *testing.T) {
	for _, how := range []struct {
		name      string
		isIPv6    bool
		translate func(object) object
	}{
		{"IPv4", false, nil},
		{"IPv6", true, nil},
		{"as v1alpha2", false, asVersion1Alpha2},
		{"as AdminNetworkPolicy and BaselineAdminNetworkPolicy", false, asOlderKind},
	} {
		t.Run(how.name, func(t *testing.T) {
			server := startAPIServer(t, startEvaluator(t), how.isIPv6)
			server.translate = how.translate
			settings := rest.Config{Host: server.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON}}
			conformance := suite.New(suite.Options{
				Client:                     newClient(t, &settings),
				ClientSet:                  kubernetes.NewForConfigOrDie(&settings),
				KubeConfig:                 settings,
				EnableAllSupportedFeatures: true,
				// The answer does not change by waiting.
				TimeoutConfig: config.TimeoutConfig{PokeTimeout: time.Second, PokeInterval: 100 * time.Millisecond},
			})
			conformance.Setup(t)
			conformance.Run(t, tests.ConformanceTests)
			if len(tests.ConformanceTests) < 30 || server.probes < 700 {
				t.Errorf("only %d tests, %d probes", len(tests.ConformanceTests), server.probes)
			}
			fmt.Printf("network-policy-api 0.3.0, conformance, %s: %d tests, %d probes\n", how.name, len(tests.ConformanceTests), server.probes)
		})
	}
}

// newClient knows the tests' kinds by itself: the server has no discovery.
func newClient(t *testing.T, settings *rest.Config) client.Client {
	t.Helper()
	if err := v1beta1.Install(scheme.Scheme); err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	for kind, scope := range map[string]meta.RESTScope{"Namespace": meta.RESTScopeRoot, "Pod": meta.RESTScopeNamespace} {
		mapper.Add(corev1.SchemeGroupVersion.WithKind(kind), scope)
	}
	mapper.Add(appsv1.SchemeGroupVersion.WithKind("StatefulSet"), meta.RESTScopeNamespace)
	mapper.Add(networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"), meta.RESTScopeNamespace)
	mapper.Add(v1beta1.SchemeGroupVersion.WithKind("ClusterNetworkPolicy"), meta.RESTScopeRoot)
	c, err := client.New(settings, client.Options{Scheme: scheme.Scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
