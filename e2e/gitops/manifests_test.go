// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	flux "github.com/fluxcd/kustomize-controller/api/v1"
	source "github.com/fluxcd/source-controller/api/v1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"
)

// The kinds that users write, sorted.
var userKinds = []string{"AppProfile", "FlowCapture", "ObservabilityStack", "TracingPolicy", "TracingPolicyNamespaced"}

const root = "../.."

type kustomization struct {
	Resources          []string `json:"resources"`
	ConfigMapGenerator []struct {
		Files []string `json:"files"`
	} `json:"configMapGenerator"`
}

func readKustomization(t *testing.T, folder string) kustomization {
	t.Helper()
	var kustomization kustomization
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(root, folder, "kustomization.yaml"))), &kustomization); err != nil {
		t.Fatal(err)
	}
	return kustomization
}

func TestArgoConfigMapHasEveryKind(t *testing.T) {
	var expected []string
	for _, kind := range userKinds {
		expected = append(expected, "resource.customizations.health.trilobite.dev_"+kind+"=health.lua")
	}
	files := readKustomization(t, "config/gitops/argocd").ConfigMapGenerator[0].Files
	slices.Sort(files)
	if !slices.Equal(files, expected) {
		t.Errorf("%v", files)
	}
}

func TestUserKindsAreThoseOfTheCRDs(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(root, "config/crd/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range paths {
		var crd struct {
			Spec struct {
				Names struct {
					Kind       string   `json:"kind"`
					Categories []string `json:"categories"`
				} `json:"names"`
			} `json:"spec"`
		}
		if err := yaml.Unmarshal([]byte(read(t, path)), &crd); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(crd.Spec.Names.Categories, "trilobite") {
			found = append(found, crd.Spec.Names.Kind)
		}
	}
	slices.Sort(found)
	if !slices.Equal(found, userKinds) {
		t.Errorf("%v", found)
	}
}

func TestFluxExampleIsReadByFluxsOwnTypes(t *testing.T) {
	var repository source.GitRepository
	if err := yaml.UnmarshalStrict([]byte(read(t, root+"/config/gitops/flux/source.yaml")), &repository); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, name := range []string{"operator.yaml", "stack.yaml"} {
		var applied flux.Kustomization
		if err := yaml.UnmarshalStrict([]byte(read(t, root+"/config/gitops/flux/"+name)), &applied); err != nil {
			t.Fatal(err)
		}
		if !applied.Spec.Wait || applied.Spec.SourceRef.Name != repository.Name || applied.Spec.Timeout == nil {
			t.Errorf("%s: %+v", name, applied.Spec)
		}
		readKustomization(t, applied.Spec.Path)
		for _, before := range applied.Spec.DependsOn {
			if !names[before.Name] {
				t.Errorf("%s depends on %s, which is not before it", name, before.Name)
			}
		}
		names[applied.Name] = true
	}
	if len(names) != 2 {
		t.Error(names)
	}
}

func TestArgoExampleNamesFoldersThatExist(t *testing.T) {
	var application struct {
		Spec struct {
			Sources []struct {
				Path string `json:"path"`
			} `json:"sources"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(read(t, root+"/config/gitops/argocd/application.yaml")), &application); err != nil {
		t.Fatal(err)
	}
	if len(application.Spec.Sources) != 2 {
		t.Fatal(application)
	}
	for _, source := range application.Spec.Sources {
		readKustomization(t, source.Path)
	}
}

func TestServiceMonitorsAreReadByPrometheusOperatorsOwnTypes(t *testing.T) {
	helm := filepath.Join(root, "target/cache/bin/helm")
	if _, err := os.Stat(helm); err != nil {
		if os.Getenv("TRILOBITE_REQUIRE_CLIENTS") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	values := "metrics.serviceMonitor.create=true,metrics.serviceMonitor.interval=1m30s,metrics.serviceMonitor.labels.a=b"
	out, err := exec.Command(helm, "template", "x", filepath.Join(root, "charts/trilobite"), "--set", values).Output()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for document := range strings.SplitSeq(string(out), "\n---\n") {
		if !strings.Contains(document, "\nkind: ServiceMonitor\n") {
			continue
		}
		var monitor monitoring.ServiceMonitor
		if err := yaml.UnmarshalStrict([]byte(document), &monitor); err != nil {
			t.Fatal(err)
		}
		if monitor.Spec.Endpoints[0].Interval != "1m30s" || monitor.Labels["a"] != "b" {
			t.Errorf("%+v", monitor)
		}
		found++
	}
	if found != 2 {
		t.Errorf("%d ServiceMonitors", found)
	}
}
