// SPDX-License-Identifier: Apache-2.0

// Package gitops asks Argo CD's interpreter and Flux's kstatus what they say of our objects.
package gitops

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const healthScript = "../../config/gitops/argocd/health.lua"

// A state of the cluster: an object with the status that the operator writes, and what is said of it.
type state struct {
	Argo    string          `json:"argo"`
	Kstatus string          `json:"kstatus"`
	Says    string          `json:"says"`
	Object  json.RawMessage `json:"object"`
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func fluxHealth(t *testing.T, object *unstructured.Unstructured) (status, message string) {
	t.Helper()
	result, err := kstatus.Compute(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(result.Status), result.Message
}

func TestStatesAreToldAsTheyAre(t *testing.T) {
	script := read(t, healthScript)
	paths, err := filepath.Glob("states/*.yaml")
	if err != nil || len(paths) < 15 {
		t.Fatal(paths, err)
	}
	kinds := map[string]bool{}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			var state state
			if err := yaml.UnmarshalStrict([]byte(read(t, path)), &state); err != nil {
				t.Fatal(err)
			}
			object := &unstructured.Unstructured{}
			if err := object.UnmarshalJSON(state.Object); err != nil {
				t.Fatal(err)
			}
			kinds[object.GetKind()] = true
			argo, argoSays, err := argoHealth(script, object)
			if err != nil || argo != state.Argo || !strings.Contains(argoSays, state.Says) {
				t.Errorf("Argo CD: %s %q %v, expected %s %q", argo, argoSays, err, state.Argo, state.Says)
			}
			flux, fluxSays := fluxHealth(t, object)
			// Of an object that is ready kstatus has a sentence of its own.
			silent := flux == "Current" || argo == "Suspended" || argo == "Degraded" && flux == "InProgress"
			if flux != state.Kstatus || !silent && !strings.Contains(fluxSays, state.Says) {
				t.Errorf("kstatus: %s %q, expected %s %q", flux, fluxSays, state.Kstatus, state.Says)
			}
		})
	}
	if names := slices.Sorted(maps.Keys(kinds)); !slices.Equal(names, userKinds) {
		t.Errorf("states are of %v, not of %v", names, userKinds)
	}
}

// What either may say while the other says the key.
var agreement = map[string][]string{
	"Current":    {"Healthy"},
	"Failed":     {"Degraded"},
	"InProgress": {"Progressing", "Suspended", "Degraded"},
}

func TestArgoAndKstatusAgreeForAllConditions(t *testing.T) {
	script := read(t, healthScript)
	seen := map[string]bool{}
	for _, choice := range combinations(
		[]string{"", "True", "False", "Unknown"},
		[]string{"Progressing", "Suspended", "NoMatchingNodes", "TooManyNodesFailing"},
		[]string{"", "Reconciling", "Stalled"},
		[]string{"True", "False"},
		[]string{"this generation", "the last generation"},
	) {
		ready, reason, abnormal, degraded, observed := choice[0], choice[1], choice[2], choice[3], choice[4]
		conditions := []any{condition("Degraded", degraded, reason)}
		if ready != "" {
			conditions = append(conditions, condition("Ready", ready, reason))
		}
		if abnormal != "" {
			conditions = append(conditions, condition(abnormal, "True", reason))
		}
		generation := int64(1)
		if observed != "this generation" {
			generation = 2
		}
		object := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "trilobite.dev/v1alpha1", "kind": "TracingPolicy",
			"metadata": map[string]any{"name": "x", "generation": generation},
			"status":   map[string]any{"observedGeneration": int64(1), "conditions": conditions},
		}}
		argo, _, err := argoHealth(script, object)
		if err != nil {
			t.Fatal(err, choice)
		}
		flux, _ := fluxHealth(t, object)
		seen[argo+"/"+flux] = true
		// Without a condition Ready kstatus calls any object current; the operator always writes one.
		if ready == "" && flux == "Current" {
			continue
		}
		if !slices.Contains(agreement[flux], argo) {
			t.Errorf("%v: Argo CD says %s, kstatus %s", choice, argo, flux)
		}
	}
	if len(seen) < 5 {
		t.Errorf("too few different answers: %v", seen)
	}
}

func condition(kind, status, reason string) any {
	return map[string]any{"type": kind, "status": status, "reason": reason, "message": kind + " says why"}
}

// Every choice of one word from each list.
func combinations(lists ...[]string) [][]string {
	choices := [][]string{nil}
	for _, list := range lists {
		var longer [][]string
		for _, choice := range choices {
			for _, word := range list {
				longer = append(longer, append(slices.Clone(choice), word))
			}
		}
		choices = longer
	}
	return choices
}
