// SPDX-License-Identifier: Apache-2.0

// Package hubblemetrics gives flows of every event to Hubble's own handlers of metrics: they must make the series that the agent
// has made of them.
package hubblemetrics

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	observerpb "github.com/cilium/cilium/api/v1/observer"
	_ "github.com/cilium/cilium/pkg/hubble/metrics/dns"
	_ "github.com/cilium/cilium/pkg/hubble/metrics/drop"
	_ "github.com/cilium/cilium/pkg/hubble/metrics/flow"
	_ "github.com/cilium/cilium/pkg/hubble/metrics/flows-to-world"
	_ "github.com/cilium/cilium/pkg/hubble/metrics/http"
	_ "github.com/cilium/cilium/pkg/hubble/metrics/icmp"
	_ "github.com/cilium/cilium/pkg/hubble/metrics/policy"
	_ "github.com/cilium/cilium/pkg/hubble/metrics/port-distribution"
	_ "github.com/cilium/cilium/pkg/hubble/metrics/tcp"

	"github.com/cilium/cilium/pkg/hubble/metrics/api"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protojson"
)

// Written by a unit test of the agent, serve::hubble::metrics_reference.
const folder = "../../target/hubble-metrics"

// Metrics in Hubble's words, and the series that the agent made of the flows.
type metricsCase struct {
	Metrics []string `json:"metrics"`
	Series  []string `json:"series"`
}

func read(t *testing.T, name string) []byte {
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatalf("%v; run the agent's unit tests first: cargo test -p trilobite-node --lib metrics_reference", err)
	}
	return text
}

func flows(t *testing.T) []*flowpb.Flow {
	var all []*flowpb.Flow
	lines := bufio.NewScanner(bytes.NewReader(read(t, "flows.jsonl")))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var response observerpb.GetFlowsResponse
		if err := protojson.Unmarshal(lines.Bytes(), &response); err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		all = append(all, response.GetFlow())
	}
	if len(all) < 5000 {
		t.Fatalf("%d flows", len(all))
	}
	return all
}

// series gives `name{label="value",...} count` of every counter and of the parts of every histogram, sorted, with sorted labels.
func series(t *testing.T, words []string, flows []*flowpb.Flow) []string {
	registry := prometheus.NewPedanticRegistry()
	config := api.ParseStaticMetricsConfig(words)
	// The agent's word for Hubble's labels alone is no metric of Hubble's.
	config.Metrics = slices.DeleteFunc(config.Metrics, func(metric *api.MetricConfig) bool { return metric.Name == "hubbleLabels" })
	handlers, err := api.DefaultRegistry().ConfigureHandlers(slog.New(slog.DiscardHandler), registry, config)
	if err != nil {
		t.Fatal(err)
	}
	for _, flow := range flows {
		for _, handler := range *handlers {
			if err := handler.Handler.ProcessFlow(context.Background(), flow); err != nil {
				t.Fatalf("%s: %v", handler.Name, err)
			}
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", label.GetName(), label.GetValue()))
			}
			if histogram := metric.GetHistogram(); histogram != nil {
				lines = append(lines, histogramLines(family.GetName(), labels, histogram)...)
			} else {
				lines = append(lines, line(family.GetName(), labels, metric.GetCounter().GetValue()))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func line(name string, labels []string, value float64) string {
	sorted := slices.Sorted(slices.Values(labels))
	return fmt.Sprintf("%s{%s} %.3f", name, strings.Join(sorted, ","), value)
}

func histogramLines(name string, labels []string, histogram *dto.Histogram) []string {
	lines := []string{
		line(name+"_sum", labels, histogram.GetSampleSum()),
		line(name+"_count", labels, float64(histogram.GetSampleCount())),
		line(name+"_bucket", append(labels, `le="+Inf"`), float64(histogram.GetSampleCount())),
	}
	for _, bucket := range histogram.GetBucket() {
		end := fmt.Sprintf("le=%q", fmt.Sprintf("%.3f", bucket.GetUpperBound()))
		lines = append(lines, line(name+"_bucket", append(labels, end), float64(bucket.GetCumulativeCount())))
	}
	return lines
}

func TestHubblesOwnHandlersMakeTheSameSeries(t *testing.T) {
	flows := flows(t)
	var cases []metricsCase
	if err := json.Unmarshal(read(t, "cases.json"), &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 4 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, wanted := range cases {
		ours, theirs := set(wanted.Series), set(series(t, wanted.Metrics, flows))
		if len(theirs) < 50 {
			t.Errorf("%v: %d series", wanted.Metrics, len(theirs))
		}
		report(t, "only the agent has", ours, theirs)
		report(t, "only Hubble has", theirs, ours)
	}
}

func set(lines []string) map[string]bool {
	all := make(map[string]bool, len(lines))
	for _, line := range lines {
		all[line] = true
	}
	return all
}

// report names the first few lines that the other set lacks.
func report(t *testing.T, what string, lines, others map[string]bool) {
	named := 0
	for _, line := range slices.Sorted(maps.Keys(lines)) {
		if !others[line] {
			if named++; named <= 5 {
				t.Errorf("%s %s", what, line)
			}
		}
	}
	if named > 5 {
		t.Errorf("%s %d series", what, named)
	}
}
