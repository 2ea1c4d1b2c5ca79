// SPDX-License-Identifier: Apache-2.0

package references

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mattfenwick/cyclonus/pkg/connectivity/probe"
	"github.com/mattfenwick/cyclonus/pkg/generator"
	"github.com/mattfenwick/cyclonus/pkg/matcher"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

func TestEveryCaseOfCyclonusIsDecidedAsByItsMatcher(t *testing.T) {
	evaluator := startEvaluator(t)
	cases, steps, sum := 0, 0, comparisons{}
	for _, family := range families {
		pod := newModel(family).address("z/c")
		for _, testCase := range generator.NewTestCaseGenerator(true, pod, []string{"x", "y", "z"}, nil, nil).GenerateAllTestCases() {
			cases++
			model := newModel(family)
			for number, step := range testCase.Steps {
				steps++
				for _, action := range step.Actions {
					if err := model.apply(action); err != nil {
						t.Fatalf("%s: %v", testCase.Description, err)
					}
				}
				name := fmt.Sprintf("%s, %s, step %d", testCase.Description, family.name, number+1)
				sum.add(compare(t, evaluator, name, model))
			}
		}
	}
	if cases < 460 || sum.connections < 2_000_000 {
		t.Errorf("only %d cases, %d connections", cases, sum.connections)
	}
	fmt.Printf("cyclonus 0.5.6, its generator: %d cases, %d steps, %s\n", cases, steps, sum)
}

// comparisons counts what was compared.
type comparisons struct{ connections, verdicts, names, different int }

func (c *comparisons) add(other comparisons) {
	c.connections += other.connections
	c.verdicts += other.verdicts
	c.names += other.names
	c.different += other.different
}

func (c comparisons) String() string {
	return fmt.Sprintf("%d connections: %d verdicts and %d lists of policies compared, %d differ",
		c.connections, c.verdicts, c.names, c.different)
}

// compare asks evaluator and matcher about every pair of pods and outside addresses, every port and protocol.
func compare(t *testing.T, evaluator *evaluator, name string, model *model) comparisons {
	t.Helper()
	asked, traffic := model.connections()
	decided := make(chan answer, 1)
	go func() {
		answer, err := evaluator.ask(asked)
		if err != nil {
			t.Error(err)
		}
		decided <- answer
	}()
	matchers := newMatchers(model.policies)
	expected := make([][2]side, len(traffic))
	for i, one := range traffic {
		expected[i] = [2]side{matchers.decide(one, false), matchers.decide(one, true)}
	}
	answer := <-decided
	sum := comparisons{connections: len(traffic)}
	if len(answer.Refused) > 0 || len(answer.Decisions) != len(traffic) {
		t.Errorf("%s: %d of %d are decided, refused: %v", name, len(answer.Decisions), len(traffic), answer.Refused)
		return sum
	}
	for i, decision := range answer.Decisions {
		for direction, found := range []side{decision.Egress, decision.Ingress} {
			wanted := expected[i][direction]
			sum.verdicts++
			same := found.Allowed == wanted.Allowed && len(found.DeniedBy) == 0
			// A verdict has the names that lead to it.
			if wanted.Allowed {
				sum.names++
				same = same && sameNames(found.AllowedBy, wanted.AllowedBy)
			} else {
				sum.names++
				same = same && sameNames(found.IsolatedBy, wanted.IsolatedBy)
			}
			if !same {
				sum.different++
				if sum.different == 1 {
					printDifference(t, name, model, asked.Connections[i], direction, found, wanted)
				}
			}
		}
	}
	return sum
}

func sameNames(found, wanted []string) bool {
	slices.Sort(found)
	slices.Sort(wanted)
	return slices.Equal(found, wanted)
}

func printDifference(t *testing.T, name string, model *model, at connection, direction int, found, wanted side) {
	t.Helper()
	policies := ""
	for _, policy := range model.policies {
		text, _ := yaml.Marshal(policy)
		policies += "---\n" + string(text)
	}
	peer := func(peer peer, address string) string {
		if peer.Pod == nil {
			return address
		}
		pod := model.resources.Pods[*peer.Pod]
		return fmt.Sprintf("%s %v (%s)", pod.PodString(), pod.Labels, address)
	}
	t.Errorf("%s: %s of %s -> %s, %s %d\n  found    %+v\n  expected %+v\n%s", name, []string{"egress", "ingress"}[direction],
		peer(at.Client, at.ClientIP), peer(at.Server, at.ServerIP), at.Protocol, at.Port, found, wanted, policies)
}

// connections gives the question, and the same connections in the matcher's terms.
func (m *model) connections() (question, []*matcher.Traffic) {
	type end struct {
		peer peer
		ip   string
		pod  *probe.Pod
	}
	q := question{Nodes: []node{}}
	var ends []end
	for i, p := range m.resources.Pods {
		named := []namedPort{}
		for _, container := range p.Containers {
			named = append(named, namedPort{container.PortName, string(container.Protocol), container.Port})
		}
		q.Pods = append(q.Pods, pod{p.Namespace, p.Name, p.Labels, m.resources.Namespaces[p.Namespace], named})
		ends = append(ends, end{peer{Pod: &i}, m.address(p.PodString().String()), p})
	}
	for _, address := range m.family.outside {
		ends = append(ends, end{ip: address})
	}
	q.Policies = []any{}
	for _, policy := range m.policies {
		object := policy.DeepCopy()
		object.APIVersion, object.Kind = "networking.k8s.io/v1", "NetworkPolicy"
		q.Policies = append(q.Policies, object)
	}
	var all []*matcher.Traffic
	inside := func(pod *probe.Pod) *matcher.InternalPeer {
		if pod == nil {
			return nil
		}
		return &matcher.InternalPeer{PodLabels: pod.Labels, NamespaceLabels: m.resources.Namespaces[pod.Namespace], Namespace: pod.Namespace}
	}
	ports := m.ports()
	for _, client := range ends {
		for _, server := range ends {
			if client.pod == nil && server.pod == nil {
				continue
			}
			for _, protocol := range protocols {
				for _, port := range ports {
					name := ""
					if server.pod != nil {
						name = portName(server.pod, port, protocol)
					}
					q.Connections = append(q.Connections, connection{client.peer, client.ip, server.peer, server.ip, string(protocol), port})
					all = append(all, &matcher.Traffic{
						Source:           &matcher.TrafficPeer{Internal: inside(client.pod), IP: client.ip},
						Destination:      &matcher.TrafficPeer{Internal: inside(server.pod), IP: server.ip},
						ResolvedPort:     port,
						ResolvedPortName: name,
						Protocol:         protocol,
					})
				}
			}
		}
	}
	return q, all
}

// matchers are cyclonus' for all policies, which decides, and for each alone, which says whether it allows and whether it isolates.
type matchers struct {
	all   *matcher.Policy
	names []string
	each  []*matcher.Policy
}

func newMatchers(policies []*networkingv1.NetworkPolicy) matchers {
	m := matchers{all: matcher.BuildNetworkPolicies(false, policies)}
	for _, policy := range policies {
		m.names = append(m.names, fmt.Sprintf("NetworkPolicy %s/%s", policy.Namespace, policy.Name))
		m.each = append(m.each, matcher.BuildNetworkPolicies(false, []*networkingv1.NetworkPolicy{policy}))
	}
	return m
}

func (m matchers) decide(traffic *matcher.Traffic, isIngress bool) side {
	s := side{Allowed: m.all.IsIngressOrEgressAllowed(traffic, isIngress).IsAllowed()}
	for i, one := range m.each {
		alone := one.IsIngressOrEgressAllowed(traffic, isIngress)
		if len(alone.AllowingTargets) > 0 {
			s.AllowedBy = append(s.AllowedBy, m.names[i])
		}
		if len(alone.AllowingTargets)+len(alone.DenyingTargets) > 0 {
			s.IsolatedBy = append(s.IsolatedBy, m.names[i])
		}
	}
	return s
}
