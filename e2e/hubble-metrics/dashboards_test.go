// SPDX-License-Identifier: Apache-2.0

package hubblemetrics

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	metricName = regexp.MustCompile(`hubble_[a-z_]+`)
	selector   = regexp.MustCompile(`(hubble_[a-z_]+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	grouping   = regexp.MustCompile(`by \(([^)]*)\)`)
	seriesLine = regexp.MustCompile(`^(hubble_[a-z_]+)\{(.*)\} `)
	labelName  = regexp.MustCompile(`([a-z_]+)="`)
)

// Labels that Prometheus adds at the scrape, or computes.
var added = map[string]bool{"cluster": true, "pod": true, "le": true}

// defaults gives the labels of each of the agent's default metrics.
func defaults(t *testing.T) map[string]map[string]bool {
	var lines []string
	if err := json.Unmarshal(read(t, "default.json"), &lines); err != nil {
		t.Fatal(err)
	}
	metrics := map[string]map[string]bool{}
	for _, line := range lines {
		parts := seriesLine.FindStringSubmatch(line)
		labels := map[string]bool{}
		for _, label := range labelName.FindAllStringSubmatch(parts[2], -1) {
			labels[label[1]] = true
		}
		metrics[parts[1]] = labels
	}
	return metrics
}

// expressions gives every query below a node of a dashboard.
func expressions(node any) []string {
	var all []string
	switch node := node.(type) {
	case map[string]any:
		for key, value := range node {
			if text, ok := value.(string); ok && key == "expr" {
				all = append(all, text)
			}
			all = append(all, expressions(value)...)
		}
	case []any:
		for _, value := range node {
			all = append(all, expressions(value)...)
		}
	}
	return all
}

// isLater tells metrics that the agent does not have yet.
func isLater(name string) bool {
	return strings.HasPrefix(name, "hubble_dns_")
}

func TestHubblesDashboardsFindTheirMetricsAndLabels(t *testing.T) {
	folder, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/cilium/cilium").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(folder)), "install/kubernetes/cilium/files/hubble/dashboards/*.json"))
	if err != nil || len(files) != 4 {
		t.Fatalf("%d dashboards of Hubble: %v", len(files), err)
	}
	metrics := defaults(t)
	checked, later := 0, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var dashboard any
		if err := json.Unmarshal(text, &dashboard); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, expression := range expressions(dashboard) {
			names := metricName.FindAllString(expression, -1)
			if len(names) == 0 || isLater(names[0]) {
				later++
				continue
			}
			checked++
			check(t, filepath.Base(file), expression, names, metrics)
		}
	}
	if checked < 30 {
		t.Errorf("%d queries were checked, %d are of metrics that are not there yet", checked, later)
	}
	t.Logf("%d queries were checked, %d are of metrics that are not there yet", checked, later)
}

func check(t *testing.T, file, expression string, names []string, metrics map[string]map[string]bool) {
	known := map[string]bool{}
	for _, name := range names {
		if metrics[name] == nil {
			t.Errorf("%s: there is no %s, of %s", file, name, expression)
		}
		for label := range metrics[name] {
			known[label] = true
		}
	}
	var wanted []string
	for _, found := range selector.FindAllStringSubmatch(expression, -1) {
		for _, label := range matcher.FindAllStringSubmatch(found[2], -1) {
			wanted = append(wanted, label[1])
		}
	}
	for _, found := range grouping.FindAllStringSubmatch(expression, -1) {
		for label := range strings.SplitSeq(found[1], ",") {
			wanted = append(wanted, strings.TrimSpace(label))
		}
	}
	for _, label := range wanted {
		if !known[label] && !added[label] {
			t.Errorf("%s: no metric has the label %s, of %s", file, label, expression)
		}
	}
}
