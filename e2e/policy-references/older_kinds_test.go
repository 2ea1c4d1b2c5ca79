// SPDX-License-Identifier: Apache-2.0

package references

import (
	"maps"
	"strings"
)

func asVersion1Alpha2(policy object) object {
	older := maps.Clone(policy)
	older["apiVersion"] = "policy.networking.k8s.io/v1alpha2"
	return older
}

// asOlderKind writes a policy in v1alpha1's words. What these cannot say stays a ClusterNetworkPolicy: in the tier Baseline there
// is one policy, and it passes nothing on.
func asOlderKind(policy object) object {
	older := maps.Clone(policy)
	spec := maps.Clone(policy["spec"].(object))
	kind := "AdminNetworkPolicy"
	if spec["tier"] == "Baseline" {
		kind = "BaselineAdminNetworkPolicy"
		if text(policy, "metadata", "name") != "default" || passesOn(spec) {
			return policy
		}
		delete(spec, "priority")
	}
	delete(spec, "tier")
	for _, direction := range []string{"ingress", "egress"} {
		rules, _ := spec[direction].([]any)
		var written []any
		for _, rule := range rules {
			written = append(written, olderRule(rule.(object)))
		}
		if written != nil {
			spec[direction] = written
		}
	}
	older["apiVersion"], older["kind"], older["spec"] = "policy.networking.k8s.io/v1alpha1", kind, spec
	return older
}

func passesOn(spec object) bool {
	for _, direction := range []string{"ingress", "egress"} {
		rules, _ := spec[direction].([]any)
		for _, rule := range rules {
			if text(rule.(object), "action") == "Pass" {
				return true
			}
		}
	}
	return false
}

func olderRule(rule object) object {
	older := maps.Clone(rule)
	if rule["action"] == "Accept" {
		older["action"] = "Allow"
	}
	protocols, given := rule["protocols"].([]any)
	delete(older, "protocols")
	if !given {
		return older
	}
	var ports []any
	for _, one := range protocols {
		for word, value := range one.(object) {
			ports = append(ports, olderPort(word, value))
		}
	}
	older["ports"] = ports
	return older
}

// olderPort has no word for all ports of a protocol.
func olderPort(word string, value any) object {
	if word == "destinationNamedPort" {
		return object{"namedPort": value}
	}
	protocol := strings.ToUpper(word)
	if number, given := field(value, "destinationPort", "number").(float64); given {
		return object{"portNumber": object{"protocol": protocol, "port": number}}
	}
	if ends, given := field(value, "destinationPort", "range").(object); given {
		return object{"portRange": object{"protocol": protocol, "start": ends["start"], "end": ends["end"]}}
	}
	return object{"portRange": object{"protocol": protocol, "start": 1.0, "end": 65535.0}}
}
