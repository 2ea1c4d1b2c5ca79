// SPDX-License-Identifier: Apache-2.0

// Package pipelines runs a real OpenTelemetry Collector with the file that we ship, on lines that the agent's exporter wrote, and
// reads back from a real log store what has arrived.
package pipelines

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/filelogreceiver"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/confmap/provider/yamlprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/batchprocessor"
	"go.opentelemetry.io/collector/processor/memorylimiterprocessor"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
)

const (
	shipped = "../../config/pipelines/otel-collector/collector.yaml"
	// What the exporter prints of every kind of event, kept by a test of the agent.
	golden = "../../node-runtime/src/serve/tetragon/golden/events.jsonl"
	wanted = 1000
	// A kubelet splits lines there.
	splitAt = 16 << 10
)

// Lines that no pipeline may take for an event.
var logLines = []string{
	"2030-01-02T03:04:05.000000001Z  INFO the agent is ready",
	`{"level":"info","msg":"process_exec is enabled"}`,
	"process_exec process_kprobe process_exit",
}

// Types of events that the exporter's selection knows.
var exported = []string{
	"process_exec", "process_exit", "process_kprobe", "process_tracepoint", "process_throttle", "rate_limit_info",
}

// events gives the lines of an export: each of the golden file again and again, and one that a kubelet splits.
func events(t *testing.T) []string {
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for line := range strings.Lines(string(text)) {
		for _, kind := range exported {
			if strings.HasPrefix(line, fmt.Sprintf(`{"%s":`, kind)) {
				kinds = append(kinds, strings.TrimSuffix(line, "\n"))
			}
		}
	}
	if len(kinds) < 20 {
		t.Fatalf("%s has %d events that are exported", golden, len(kinds))
	}
	long := `{"process_exec":{"process":{"arguments":"` + strings.Repeat("x", 3*splitAt) + `","pod":{"namespace":"long","name":"p"}}},` +
		`"node_name":"reef","time":"2026-01-02T03:04:05.678901234Z"}`
	lines := []string{long}
	for number := range wanted - 1 {
		lines = append(lines, kinds[number%len(kinds)])
	}
	return lines
}

// writeLog writes a container's log as containerd does, with lines of another kind among the events.
func writeLog(t *testing.T, path string, events []string) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	write := func(line string) {
		for len(line) > splitAt {
			fmt.Fprintf(&log, "2026-01-02T03:04:05.678901234Z stdout P %s\n", line[:splitAt])
			line = line[splitAt:]
		}
		fmt.Fprintf(&log, "2026-01-02T03:04:05.678901234Z stdout F %s\n", line)
	}
	for number, event := range events {
		write(event)
		if number%10 == 0 {
			write(logLines[number/10%len(logLines)])
		}
	}
	if err := os.WriteFile(path, log.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startStore starts VictoriaLogs, which keeps all it is given, and returns its address.
func startStore(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	program := filepath.Join(t.TempDir(), "victoria-logs")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building VictoriaLogs: %v\n%s", err, said)
	}
	store := exec.Command(program, "-httpListenAddr="+address, "-storageDataPath="+t.TempDir(), "-retentionPeriod=100y",
		"-futureRetention=100y", "-loggerLevel=ERROR")
	store.Stderr = os.Stderr
	if err := store.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = store.Process.Kill()
		_ = store.Wait()
	})
	for range 300 {
		if reply, err := http.Get("http://" + address + "/health"); err == nil {
			reply.Body.Close()
			return address
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("VictoriaLogs does not answer")
	return ""
}

// stored gives every row of the store.
func stored(t *testing.T, address string) []map[string]string {
	query := url.Values{"query": {"*"}, "limit": {"100000"}}
	reply, err := http.Get("http://" + address + "/select/logsql/query?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	var rows []map[string]string
	lines := bufio.NewScanner(reply.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		row := map[string]string{}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		rows = append(rows, row)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// startCollector runs the shipped configuration with another input and another store.
func startCollector(t *testing.T, include, endpoint string) {
	must := func(factories any, err error) {
		if err != nil {
			t.Fatal(factories, err)
		}
	}
	factories := func() (otelcol.Factories, error) {
		receivers, err := otelcol.MakeFactoryMap[receiver.Factory](filelogreceiver.NewFactory())
		must(receivers, err)
		processors, err := otelcol.MakeFactoryMap[processor.Factory](batchprocessor.NewFactory(), memorylimiterprocessor.NewFactory())
		must(processors, err)
		exporters, err := otelcol.MakeFactoryMap[exporter.Factory](otlphttpexporter.NewFactory())
		must(exporters, err)
		return otelcol.Factories{
			Receivers: receivers, Processors: processors, Exporters: exporters, Telemetry: otelconftelemetry.NewFactory(),
		}, nil
	}
	settings := otelcol.CollectorSettings{
		BuildInfo:               component.BuildInfo{Command: "otelcol", Version: "test"},
		Factories:               factories,
		DisableGracefulShutdown: true,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: confmap.ResolverSettings{
			URIs: []string{
				"file:" + shipped,
				"yaml:receivers::filelog::include: [" + include + "]",
				"yaml:exporters::otlphttp/loki::endpoint: " + endpoint,
				"yaml:service::telemetry::metrics::level: none",
				"yaml:service::telemetry::logs::level: warn",
			},
			ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory(), yamlprovider.NewFactory()},
		}},
	}
	collector, err := otelcol.NewCollector(settings)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- collector.Run(context.Background()) }()
	for collector.GetState() != otelcol.StateRunning {
		select {
		case err := <-ended:
			t.Fatalf("the collector does not start: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Cleanup(func() {
		collector.Shutdown()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestCollectorDeliversEachEventOnceAndNoLogLine(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "trilobite-system_trilobite-node-x7k2p_0a1b2c3d-0000-4000-8000-000000000001", "export-stdout", "0.log")
	sent := events(t)
	writeLog(t, path, sent)
	store := startStore(t)
	startCollector(t, filepath.Join(folder, "*", "export-stdout", "*.log"), "http://"+store+"/insert/opentelemetry")

	var rows []map[string]string
	for range 300 {
		time.Sleep(100 * time.Millisecond)
		if rows = stored(t, store); len(rows) >= len(sent) {
			break
		}
	}
	// What comes twice comes a moment later.
	time.Sleep(time.Second)
	rows = stored(t, store)

	count := map[string]int{}
	for _, line := range sent {
		count[line]++
	}
	for _, row := range rows {
		count[row["_msg"]]--
	}
	for line, missing := range count {
		if missing != 0 {
			t.Fatalf("%d events in, %d out; %d too few of %.300s", len(sent), len(rows), missing, line)
		}
	}
	requireAttributes(t, rows)
}

// requireAttributes fails for an attribute that no row has, and for one that says something else than the event.
func requireAttributes(t *testing.T, rows []map[string]string) {
	seen := map[string]bool{}
	for _, row := range rows {
		var event map[string]json.RawMessage
		if err := json.Unmarshal([]byte(row["_msg"]), &event); err != nil {
			t.Fatal(err)
		}
		var content struct {
			PolicyName string `json:"policy_name"`
			Process    struct {
				Pod struct{ Namespace, Name string }
			}
		}
		if err := json.Unmarshal(event[row["event"]], &content); err != nil {
			t.Fatalf("event %q of %.200s: %v", row["event"], row["_msg"], err)
		}
		pod := content.Process.Pod
		for key, value := range map[string]string{"namespace": pod.Namespace, "pod": pod.Name, "policy": content.PolicyName} {
			if row[key] != value {
				t.Fatalf("%s is %q in %.300s", key, row[key], row["_msg"])
			}
			seen[key] = seen[key] || value != ""
		}
		if row["service.name"] != "trilobite" || row["k8s.container.name"] != "export-stdout" {
			t.Fatalf("service %q, container %q", row["service.name"], row["k8s.container.name"])
		}
	}
	for _, key := range []string{"namespace", "pod", "policy"} {
		if !seen[key] {
			t.Errorf("no event has %s", key)
		}
	}
}
