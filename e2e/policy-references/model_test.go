// SPDX-License-Identifier: Apache-2.0

package references

import (
	"fmt"
	"slices"

	"github.com/mattfenwick/cyclonus/pkg/connectivity/probe"
	"github.com/mattfenwick/cyclonus/pkg/generator"
	"github.com/mattfenwick/cyclonus/pkg/kube"
	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// family is one of the two families of addresses. A hole of the generator's blocks of addresses are the 16 addresses around its
// pod's (z/c), the block is the 256 around it.
type family struct {
	name string
	// Addresses of the block have this before their last byte.
	block, other string
	// format prints the last byte.
	format string
	// outside are addresses that no pod has.
	outside []string
}

var families = []family{
	{"IPv4", "192.168.2.", "172.20.0.", "%d", []string{"192.168.2.77", "192.168.2.12", "8.8.8.8", "0.0.0.1"}},
	{"IPv6", "fd00:10::2:", "fd00:20::", "%x", []string{"fd00:10::2:4d", "fd00:10::2:c", "2001:db8::1", "::1:1"}},
}

// Last bytes of pods inside of the block: at its edges, at those of its hole, and between.
var inBlock = map[string]int{"z/c": 9, "z/a": 0, "x/a": 15, "y/a": 16, "z/b": 200, "x/c": 255}

// model is cyclonus' own: namespaces and pods, changed by the steps of its cases, with the policies of the moment.
type model struct {
	family    family
	resources *probe.Resources
	policies  []*networkingv1.NetworkPolicy
	addresses map[string]string
}

var protocols = []v1.Protocol{v1.ProtocolTCP, v1.ProtocolUDP, v1.ProtocolSCTP}

func newModel(f family) *model {
	m := &model{family: f, resources: &probe.Resources{Namespaces: map[string]map[string]string{}}, addresses: map[string]string{}}
	for _, namespace := range []string{"x", "y", "z"} {
		m.resources.Namespaces[namespace] = namespaceLabels(namespace, map[string]string{"ns": namespace})
		for _, name := range []string{"a", "b", "c"} {
			m.resources.Pods = append(m.resources.Pods, probe.NewDefaultPod(namespace, name, []int{80, 81}, protocols, false, ""))
		}
	}
	// The same names stand for other ports on two pods, and one pod has none.
	for _, changed := range []struct {
		pod      string
		from, to int
	}{{"y/b", 80, 8080}, {"z/a", 81, 82}} {
		for _, pod := range m.resources.Pods {
			for _, container := range pod.Containers {
				if pod.PodString().String() == changed.pod && container.Port == changed.from {
					container.Port = changed.to
				}
			}
		}
	}
	last := m.resources.Pods[len(m.resources.Pods)-1]
	last.Containers = last.Containers[:2]
	return m
}

// Every API server adds the label of the name.
func namespaceLabels(name string, labels map[string]string) map[string]string {
	all := map[string]string{kube.DefaultNamespaceLabel: name}
	for key, value := range labels {
		all[key] = value
	}
	return all
}

func (m *model) address(pod string) string {
	if _, known := m.addresses[pod]; !known {
		if last, inside := inBlock[pod]; inside {
			m.addresses[pod] = m.family.block + fmt.Sprintf(m.family.format, last)
		} else {
			m.addresses[pod] = m.family.other + fmt.Sprintf(m.family.format, len(m.addresses)+1)
		}
	}
	return m.addresses[pod]
}

// apply does to the model what a step of a case does to a cluster.
func (m *model) apply(action *generator.Action) error {
	var err error
	named := func(namespace, name string) func(*networkingv1.NetworkPolicy) bool {
		return func(p *networkingv1.NetworkPolicy) bool { return p.Namespace == namespace && p.Name == name }
	}
	switch {
	case action.CreatePolicy != nil:
		m.policies = append(m.policies, action.CreatePolicy.Policy)
	case action.UpdatePolicy != nil:
		policy := action.UpdatePolicy.Policy
		index := slices.IndexFunc(m.policies, named(policy.Namespace, policy.Name))
		if index < 0 {
			return fmt.Errorf("policy %s/%s is not there", policy.Namespace, policy.Name)
		}
		m.policies[index] = policy
	case action.DeletePolicy != nil:
		m.policies = slices.DeleteFunc(m.policies, named(action.DeletePolicy.Namespace, action.DeletePolicy.Name))
	case action.CreateNamespace != nil:
		create := action.CreateNamespace
		m.resources, err = m.resources.CreateNamespace(create.Namespace, namespaceLabels(create.Namespace, create.Labels))
	case action.SetNamespaceLabels != nil:
		set := action.SetNamespaceLabels
		m.resources, err = m.resources.UpdateNamespaceLabels(set.Namespace, namespaceLabels(set.Namespace, set.Labels))
	case action.DeleteNamespace != nil:
		m.resources, err = m.resources.DeleteNamespace(action.DeleteNamespace.Namespace)
	case action.CreatePod != nil:
		m.resources, err = m.resources.CreatePod(action.CreatePod.Namespace, action.CreatePod.Pod, action.CreatePod.Labels)
	case action.SetPodLabels != nil:
		m.resources, err = m.resources.SetPodLabels(action.SetPodLabels.Namespace, action.SetPodLabels.Pod, action.SetPodLabels.Labels)
	case action.DeletePod != nil:
		m.resources, err = m.resources.DeletePod(action.DeletePod.Namespace, action.DeletePod.Pod)
	case action.ReadNetworkPolicies != nil:
		// The policies of the model are those of the cluster.
	default:
		err = fmt.Errorf("an action of no kind")
	}
	return err
}

// ports are those that tell rules apart: of the pods, of the policies, and their neighbours.
func (m *model) ports() []int {
	ports := []int{53, 80, 81, 82, 7981, 8080}
	add := func(rules []networkingv1.NetworkPolicyPort) {
		for _, rule := range rules {
			if rule.Port != nil && rule.Port.Type == intstr.Int {
				ports = append(ports, rule.Port.IntValue()-1, rule.Port.IntValue(), rule.Port.IntValue()+1)
			}
			if rule.EndPort != nil {
				ports = append(ports, int(*rule.EndPort)-1, int(*rule.EndPort), int(*rule.EndPort)+1)
			}
		}
	}
	for _, policy := range m.policies {
		for _, rule := range policy.Spec.Ingress {
			add(rule.Ports)
		}
		for _, rule := range policy.Spec.Egress {
			add(rule.Ports)
		}
	}
	slices.Sort(ports)
	ports = slices.DeleteFunc(ports, func(port int) bool { return port < 1 || port > 65535 })
	return slices.Compact(ports)
}

// portName is the name that a pod has for a port, "" where it has none.
func portName(pod *probe.Pod, port int, protocol v1.Protocol) string {
	for _, container := range pod.Containers {
		if container.Port == port && container.Protocol == protocol {
			return container.PortName
		}
	}
	return ""
}
