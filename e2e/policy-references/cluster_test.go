// SPDX-License-Identifier: Apache-2.0

package references

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

const nodes = 2

// The second number of an address. Each node has a network of pods, from podNetwork on.
const (
	nodeNetwork    = 100
	serviceNetwork = 101
	podNetwork     = 102
)

func (s *apiServer) address(network, number int) string {
	if s.isIPv6 {
		return fmt.Sprintf("fd00:10:%x::%x", network, number)
	}
	return fmt.Sprintf("10.%d.%d.%d", network, number/250, 1+number%250)
}

func (s *apiServer) addNode(number int) {
	name := fmt.Sprintf("node%d", number)
	s.keep(target{version: "v1", resource: "nodes", name: name}, object{
		"metadata": object{"name": name, "labels": object{"kubernetes.io/os": "linux", "kubernetes.io/hostname": name}},
		"status":   object{"addresses": []any{object{"type": "InternalIP", "address": s.address(nodeNetwork, number)}}},
	})
}

// start does what controllers and kubelets do to a new object.
func (s *apiServer) start(at target, given object) {
	switch at.resource {
	case "namespaces":
		given["status"] = object{"phase": "Active"}
	case "services":
		s.given++
		child(given, "spec")["clusterIP"] = s.address(serviceNetwork, s.given)
	case "statefulsets":
		replicas, _ := field(given, "spec", "replicas").(float64)
		for number := range int(replicas) {
			name := fmt.Sprintf("%s-%d", at.name, number)
			added := object{"statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": strconv.Itoa(number)}
			metadata := object{"name": name, "labels": mergePatch(field(given, "spec", "template", "metadata", "labels").(object), added)}
			pod := target{version: "v1", resource: "pods", namespace: at.namespace, name: name}
			s.create(pod, object{"metadata": metadata, "spec": mergePatch(field(given, "spec", "template", "spec").(object), nil)})
		}
		given["status"] = object{"readyReplicas": replicas}
	case "pods":
		s.startPod(given)
	}
}

// startPod runs the pod on the node whose turn it is.
func (s *apiServer) startPod(given object) {
	s.given++
	number := s.given % nodes
	host, ip := s.address(nodeNetwork, number), s.address(podNetwork+number, s.given)
	if isHostNetwork, _ := field(given, "spec", "hostNetwork").(bool); isHostNetwork {
		ip = host
	}
	child(given, "spec")["nodeName"] = fmt.Sprintf("node%d", number)
	given["status"] = object{
		"phase": "Running", "hostIP": host, "podIP": ip, "podIPs": []any{object{"ip": ip}},
		"conditions": []any{object{"type": "Ready", "status": "True"}},
	}
}

// serveExec runs what the tests run in a container: agnhost connects to an address and port, by a protocol.
func (s *apiServer) serveExec(w http.ResponseWriter, r *http.Request, at target) {
	query := r.URL.Query()
	options := &remotecommand.Options{Stdout: query.Get("stdout") == "true", Stderr: query.Get("stderr") == "true"}
	remotecommand.ServeExec(w, r, execution{s, at}, at.name, "", query.Get("container"), query["command"], options,
		time.Minute, time.Minute, remotecommand.SupportedStreamingProtocols)
}

type execution struct {
	server *apiServer
	client target
}

// ExecInContainer prints and exits as agnhost does.
func (e execution) ExecInContainer(_ context.Context, _, _, _ string, command []string, _ io.Reader, _, stderr io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	isAllowed, err := e.server.connect(e.client, command)
	if err != nil {
		return err
	}
	if !isAllowed {
		fmt.Fprintln(stderr, "TIMEOUT")
		return utilexec.CodeExitError{Err: errors.New("the connection is denied"), Code: 1}
	}
	return nil
}

func (s *apiServer) connect(client target, command []string) (bool, error) {
	protocol, destination := "", ""
	if len(command) < 3 || command[0] != "/agnhost" || command[1] != "connect" {
		return false, fmt.Errorf("not a command of these tests: %v", command)
	}
	for _, word := range command[2:] {
		if value, found := strings.CutPrefix(word, "--protocol="); found {
			protocol = strings.ToUpper(value)
		} else if !strings.HasPrefix(word, "--") {
			destination = word
		}
	}
	ip, number, err := net.SplitHostPort(destination)
	if err != nil {
		return false, err
	}
	port, err := strconv.Atoi(number)
	if err != nil {
		return false, err
	}
	q, err := s.question(client, ip)
	if err != nil {
		return false, err
	}
	q.Connections[0].Protocol, q.Connections[0].Port = protocol, port
	a, err := s.evaluator.ask(q)
	if err != nil {
		return false, err
	}
	if len(a.Refused) > 0 || len(a.Decisions) != 1 {
		return false, fmt.Errorf("the evaluator refuses %v", a.Refused)
	}
	decided := a.Decisions[0]
	for _, side := range []side{decided.Egress, decided.Ingress} {
		if !side.Allowed && len(side.DeniedBy)+len(side.IsolatedBy) == 0 {
			return false, fmt.Errorf("%v is denied by no policy", q.Connections[0])
		}
	}
	return decided.allowed(), nil
}

// question describes the cluster as it is now, and one connection without its port.
func (s *apiServer) question(client target, ip string) (question, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.probes++
	ip = s.behindService(ip)
	q := question{Policies: []any{}, Pods: []pod{}, Nodes: []node{}, Connections: []connection{{ServerIP: ip}}}
	at := &q.Connections[0]
	for _, policy := range s.objects["networkpolicies"] {
		q.Policies = append(q.Policies, policy)
	}
	for _, policy := range s.objects["clusternetworkpolicies"] {
		if s.translate != nil {
			policy = s.translate(policy)
		}
		q.Policies = append(q.Policies, policy)
	}
	for _, one := range s.objects["nodes"] {
		index := len(q.Nodes)
		q.Nodes = append(q.Nodes, node{text(one, "metadata", "name"), stringMap(one, "metadata", "labels")})
		address := field(one, "status", "addresses").([]any)[0].(object)
		if text(address, "address") == ip {
			at.Server = peer{Node: &index}
		}
	}
	for key, one := range s.objects["pods"] {
		podIP := text(one, "status", "podIP")
		// A pod in its node's network is the node.
		if podIP == text(one, "status", "hostIP") {
			continue
		}
		index := len(q.Pods)
		q.Pods = append(q.Pods, s.pod(one))
		if podIP == ip {
			at.Server = peer{Pod: &index}
		}
		if key == client.key() {
			at.Client, at.ClientIP = peer{Pod: &index}, podIP
		}
	}
	if at.ClientIP == "" || at.Server == (peer{}) {
		return q, fmt.Errorf("%s -> %s: not the addresses of pods", client.key(), ip)
	}
	return q, nil
}

func (s *apiServer) pod(one object) pod {
	namespace := text(one, "metadata", "namespace")
	p := pod{
		Namespace: namespace, Name: text(one, "metadata", "name"), Labels: stringMap(one, "metadata", "labels"),
		NamespaceLabels: stringMap(s.objects["namespaces"]["/"+namespace], "metadata", "labels"), NamedPorts: []namedPort{},
	}
	containers, _ := field(one, "spec", "containers").([]any)
	for _, container := range containers {
		ports, _ := field(container.(object), "ports").([]any)
		for _, port := range ports {
			number, _ := field(port.(object), "containerPort").(float64)
			if name := text(port.(object), "name"); name != "" {
				p.NamedPorts = append(p.NamedPorts, namedPort{name, text(port.(object), "protocol"), int(number)})
			}
		}
	}
	return p
}

// behindService gives the address of the pod that a Service leads to; policies apply after the translation.
func (s *apiServer) behindService(ip string) string {
	for _, service := range s.objects["services"] {
		if text(service, "spec", "clusterIP") != ip {
			continue
		}
		selector := labels.SelectorFromSet(stringMap(service, "spec", "selector"))
		namespace := text(service, "metadata", "namespace")
		var found []string
		for _, one := range s.objects["pods"] {
			if text(one, "metadata", "namespace") == namespace && selector.Matches(labels.Set(stringMap(one, "metadata", "labels"))) {
				found = append(found, text(one, "status", "podIP"))
			}
		}
		if len(found) > 0 {
			return slices.Min(found)
		}
	}
	return ip
}
