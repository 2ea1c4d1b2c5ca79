// SPDX-License-Identifier: Apache-2.0

package references

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// times is how many random states are compared; a long test asks for more.
func times(t *testing.T, usual int) int {
	text := os.Getenv("TRILOBITE_RANDOM_POLICIES")
	if text == "" {
		return usual
	}
	number, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return number
}

func TestRandomPoliciesAreDecidedAsByCyclonusMatcher(t *testing.T) {
	evaluator := startEvaluator(t)
	seed := rand.Uint64()
	random := dice{rand.New(rand.NewPCG(seed, 0))}
	sum := comparisons{}
	states := times(t, 150)
	for number := range states {
		model := newModel(families[number%2])
		for index := range 1 + random.IntN(4) {
			model.policies = append(model.policies, random.policy(index, model))
		}
		for _, pod := range model.resources.Pods {
			if random.IntN(3) == 0 {
				pod.Labels["tier"] = random.tier()
			}
		}
		sum.add(compare(t, evaluator, fmt.Sprintf("random state %d of seed %d", number, seed), model))
		if t.Failed() {
			break
		}
	}
	fmt.Printf("cyclonus 0.5.6, its matcher: %d states of 1 to 4 random policies, %s\n", states, sum)
}

// Cyclonus' matcher takes NotIn for a condition on a label that is there, and a wanted value "" for a label that is not: here
// Kubernetes' own package is the reference.
func TestSelectorsSelectAsInKubernetes(t *testing.T) {
	evaluator := startEvaluator(t)
	random := dice{rand.New(rand.NewPCG(1, 2))}
	selected, asked := 0, 20*times(t, 150)
	for number := range asked {
		selector := metav1.LabelSelector{}
		for range random.IntN(3) {
			selector.MatchExpressions = append(selector.MatchExpressions, random.requirement([]string{"pod", "tier"}, true))
		}
		if random.IntN(3) == 0 {
			selector.MatchLabels = map[string]string{"tier": []string{"web", "db", ""}[random.IntN(3)]}
		}
		set := map[string]string{}
		for _, key := range []string{"pod", "tier"} {
			if random.IntN(3) > 0 {
				set[key] = []string{"a", "b", "web", "db", ""}[random.IntN(5)]
			}
		}
		policy := &networkingv1.NetworkPolicy{
			TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "selects"},
			Spec:       networkingv1.NetworkPolicySpec{PodSelector: selector, PolicyTypes: []networkingv1.PolicyType{"Ingress"}},
		}
		zero := 0
		answer, err := evaluator.ask(question{
			Policies:    []any{policy},
			Pods:        []pod{{Namespace: "x", Name: "p", Labels: set, NamespaceLabels: namespaceLabels("x", nil), NamedPorts: []namedPort{}}},
			Nodes:       []node{},
			Connections: []connection{{ClientIP: "8.8.8.8", Server: peer{Pod: &zero}, ServerIP: "10.0.0.1", Protocol: "TCP", Port: 80}},
		})
		if err != nil || len(answer.Refused) > 0 {
			t.Fatalf("%v %v", err, answer.Refused)
		}
		matcher, err := metav1.LabelSelectorAsSelector(&selector)
		if err != nil {
			t.Fatal(err)
		}
		wanted := matcher.Matches(labels.Set(set))
		if wanted {
			selected++
		}
		if answer.Decisions[0].Ingress.Allowed == wanted {
			t.Fatalf("%d: %s selects %v: %t", number, matcher, set, wanted)
		}
	}
	if selected < asked/10 || selected > asked*9/10 {
		t.Errorf("%d of %d are selected", selected, asked)
	}
	fmt.Printf("Kubernetes 1.37.2, its package of selectors: %d selectors, %d select\n", asked, selected)
}

type dice struct{ *rand.Rand }

func (d dice) tier() string { return []string{"web", "db"}[d.IntN(2)] }

func (d dice) policy(index int, model *model) *networkingv1.NetworkPolicy {
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{
		Namespace: []string{"x", "y", "z"}[d.IntN(3)], Name: fmt.Sprintf("random-%d", index),
	}}
	policy.Spec.PodSelector = d.selector([]string{"pod"})
	kinds := d.IntN(3)
	if kinds != 1 {
		policy.Spec.PolicyTypes = append(policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
		for range d.IntN(3) {
			policy.Spec.Ingress = append(policy.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: d.peers(model), Ports: d.ports()})
		}
	}
	if kinds != 0 {
		policy.Spec.PolicyTypes = append(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		for range d.IntN(3) {
			policy.Spec.Egress = append(policy.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: d.peers(model), Ports: d.ports()})
		}
	}
	return policy
}

func (d dice) peers(model *model) (peers []networkingv1.NetworkPolicyPeer) {
	for range d.IntN(3) {
		peer := networkingv1.NetworkPolicyPeer{}
		switch d.IntN(4) {
		case 0:
			peer.IPBlock = d.block(model)
		case 1:
			selector := d.selector([]string{"pod"})
			peer.PodSelector = &selector
		case 2:
			selector := d.selector([]string{"ns"})
			peer.NamespaceSelector = &selector
		default:
			pods, namespaces := d.selector([]string{"pod"}), d.selector([]string{"ns"})
			peer.PodSelector, peer.NamespaceSelector = &pods, &namespaces
		}
		peers = append(peers, peer)
	}
	return peers
}

// block is of either family: an address of the other is in none of them.
func (d dice) block(model *model) *networkingv1.IPBlock {
	return [...]*networkingv1.IPBlock{
		{CIDR: "0.0.0.0/0"},
		{CIDR: "::/0", Except: []string{"fd00:20::/32"}},
		{CIDR: "192.168.2.0/24", Except: []string{"192.168.2.0/28", "192.168.2.200/32"}},
		{CIDR: "fd00:10::2:0/120", Except: []string{"fd00:10::2:0/124", "fd00:10::2:c8/128"}},
		{CIDR: "192.168.2.9/31"},
		{CIDR: model.address("z/c") + map[string]string{"IPv4": "/32", "IPv6": "/128"}[model.family.name]},
		{CIDR: "172.20.0.0/16", Except: []string{"172.20.0.0/30", "172.20.0.2/31"}},
	}[d.IntN(7)]
}

func (d dice) ports() (ports []networkingv1.NetworkPolicyPort) {
	for range d.IntN(3) {
		port := networkingv1.NetworkPolicyPort{}
		if d.IntN(4) > 0 {
			protocol := protocols[d.IntN(3)]
			port.Protocol = &protocol
		}
		switch d.IntN(4) {
		case 0:
			number := intstr.FromInt32(int32(79 + d.IntN(4)))
			port.Port = &number
		case 1:
			protocol := v1.ProtocolTCP
			if port.Protocol != nil {
				protocol = *port.Protocol
			}
			names := map[v1.Protocol]string{v1.ProtocolTCP: "tcp", v1.ProtocolUDP: "udp", v1.ProtocolSCTP: "sctp"}
			name := intstr.FromString(fmt.Sprintf("serve-%d-%s", 80+d.IntN(2), names[protocol]))
			port.Port = &name
		case 2:
			number, end := intstr.FromInt32(int32(79+d.IntN(3))), int32(81+d.IntN(8000))
			port.Port, port.EndPort = &number, &end
		}
		ports = append(ports, port)
	}
	return ports
}

func (d dice) selector(keys []string) metav1.LabelSelector {
	selector := metav1.LabelSelector{}
	for range d.IntN(3) {
		if d.IntN(2) == 0 {
			selector.MatchExpressions = append(selector.MatchExpressions, d.requirement(append(keys, "tier"), false))
		} else {
			selector.MatchLabels = map[string]string{keys[0]: d.value(keys[0])}
		}
	}
	return selector
}

// requirement has NotIn only for labels that all have, unless the reference knows better.
func (d dice) requirement(keys []string, withNotIn bool) metav1.LabelSelectorRequirement {
	key := keys[d.IntN(len(keys))]
	operators := []metav1.LabelSelectorOperator{metav1.LabelSelectorOpIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist}
	if withNotIn || key != "tier" {
		operators = append(operators, metav1.LabelSelectorOpNotIn)
	}
	one := metav1.LabelSelectorRequirement{Key: key, Operator: operators[d.IntN(len(operators))]}
	if one.Operator == metav1.LabelSelectorOpIn || one.Operator == metav1.LabelSelectorOpNotIn {
		for range 1 + d.IntN(2) {
			one.Values = append(one.Values, d.value(key))
		}
	}
	return one
}

func (d dice) value(key string) string {
	switch key {
	case "ns":
		return []string{"x", "y", "z"}[d.IntN(3)]
	case "tier":
		return d.tier()
	}
	return []string{"a", "b", "c"}[d.IntN(3)]
}
