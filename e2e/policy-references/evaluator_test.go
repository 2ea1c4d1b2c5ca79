// SPDX-License-Identifier: Apache-2.0

// Package references asks the crate netpol what other projects know: cyclonus' matcher, Kubernetes' own tests of NetworkPolicy,
// and the conformance tests of ClusterNetworkPolicy.
package references

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built is where cargo leaves the example of netpol that answers.
const built = "../../target/x86_64-unknown-linux-gnu/debug"

// question is one line for the evaluator: a state of a cluster, and connections in it.
type question struct {
	Policies    []any        `json:"policies"`
	Pods        []pod        `json:"pods"`
	Nodes       []node       `json:"nodes"`
	Connections []connection `json:"connections"`
}

type pod struct {
	Namespace       string            `json:"namespace"`
	Name            string            `json:"name"`
	Labels          map[string]string `json:"labels"`
	NamespaceLabels map[string]string `json:"namespaceLabels"`
	NamedPorts      []namedPort       `json:"namedPorts"`
}

type namedPort struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	Port     int    `json:"port"`
}

type node struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
}

type connection struct {
	Client   peer   `json:"client"`
	ClientIP string `json:"clientIp"`
	Server   peer   `json:"server"`
	ServerIP string `json:"serverIp"`
	Protocol string `json:"protocol"`
	Port     int    `json:"port"`
}

// peer is an index of the question's pods or of its nodes; an address outside of the cluster has neither.
type peer struct {
	Pod  *int `json:"pod,omitempty"`
	Node *int `json:"node,omitempty"`
}

// answer is the evaluator's line: a decision for each connection, and what it refuses of the policies.
type answer struct {
	Refused   []string   `json:"refused"`
	Decisions []decision `json:"decisions"`
}

type decision struct {
	Egress  side `json:"egress"`
	Ingress side `json:"ingress"`
}

// side names policies as the evaluator prints them, e.g. "NetworkPolicy shop/default-deny".
type side struct {
	Allowed    bool     `json:"allowed"`
	AllowedBy  []string `json:"allowedBy,omitempty"`
	DeniedBy   []string `json:"deniedBy,omitempty"`
	IsolatedBy []string `json:"isolatedBy,omitempty"`
}

func (d decision) allowed() bool { return d.Egress.Allowed && d.Ingress.Allowed }

// evaluator is a running example of netpol. It answers in the order of the questions.
type evaluator struct {
	mutex     sync.Mutex
	questions *json.Encoder
	answers   *json.Decoder
	decided   int
}

func startEvaluator(t *testing.T) *evaluator {
	t.Helper()
	folder := os.Getenv("TRILOBITE_TOOLS")
	if folder == "" {
		folder = built
	}
	program := filepath.Join(folder, "examples/evaluate_policies")
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("TRILOBITE_REQUIRE_CLIENTS") != "" {
			t.Fatal(err)
		}
		t.Skipf("%v: cargo build -p trilobite-netpol --example evaluate_policies", err)
	}
	command := exec.Command(program)
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := command.Wait(); err != nil {
			t.Errorf("the evaluator: %v", err)
		}
	})
	return &evaluator{questions: json.NewEncoder(in), answers: json.NewDecoder(bufio.NewReaderSize(out, 1<<20))}
}

// ask may be called by several goroutines.
func (e *evaluator) ask(q question) (answer, error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	// Its reader is not there yet while a long question is written.
	written := make(chan error, 1)
	go func() { written <- e.questions.Encode(q) }()
	var a answer
	err := e.answers.Decode(&a)
	if failed := <-written; failed != nil {
		return a, failed
	}
	e.decided += len(a.Decisions)
	return a, err
}
