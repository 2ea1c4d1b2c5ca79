//! Discovery: which resources there are, in the older form and in the aggregated one, which the API server prefers.

use serde_json::{Value, json};
use trilobite_crds::read_api::{GROUP, VERSION};

use super::path::Resource;
use crate::resources::object::Kind;

/// Media type of aggregated discovery.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

impl Resource {
    pub fn kind(self) -> Kind {
        match self {
            Self::Events => Kind::RuntimeEvent,
            Self::Flows => Kind::Flow,
            Self::Profiles => Kind::Profile,
            Self::Requests => Kind::Request,
            Self::Nodes => Kind::NodeAnswer,
        }
    }

    /// Not `event`, `node` and `profile`'s own plural: those are words that users type for core resources.
    fn singular(self) -> &'static str {
        match self {
            Self::Events => "runtimeevent",
            Self::Flows => "flow",
            Self::Profiles => "cpuprofile",
            Self::Requests => "request",
            Self::Nodes => "nodeanswer",
        }
    }

    fn verbs(self) -> &'static [&'static str] {
        match self {
            Self::Events | Self::Flows | Self::Profiles | Self::Requests => &["get", "list", "watch"],
            Self::Nodes => &["get", "list"],
        }
    }
}

/// `/apis` for a client that accepts the aggregated form: the media type, and the document.
pub(super) fn aggregated(accept: &str) -> Option<(&'static str, Value)> {
    let wants = accept.split(',').any(|range| {
        let has = |part: &str| range.split(';').any(|found| found.trim() == part);
        has("g=apidiscovery.k8s.io") && has("as=APIGroupDiscoveryList") && has("v=v2")
    });
    wants.then(|| (AGGREGATED, aggregated_document()))
}

fn aggregated_document() -> Value {
    let kind = |kind: &str| json!({"group": GROUP, "version": VERSION, "kind": kind});
    let resources: Vec<Value> = Resource::ALL
        .into_iter()
        .map(|resource| {
            let mut value = json!({
                "resource": resource.plural(), "responseKind": kind(resource.kind().as_str()),
                "scope": if resource.is_namespaced() { "Namespaced" } else { "Cluster" },
                "singularResource": resource.singular(), "verbs": resource.verbs(),
            });
            if !resource.subresources().is_empty() {
                let of = |name: &&str| {
                    json!({"subresource": name, "responseKind": kind(resource.kind().as_str()), "verbs": ["get"]})
                };
                value["subresources"] = resource.subresources().iter().map(of).collect();
            }
            value
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": [{"metadata": {"name": GROUP, "creationTimestamp": null},
                   "versions": [{"version": VERSION, "resources": resources, "freshness": "Current"}]}],
    })
}

/// `/apis`.
pub(super) fn groups() -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]})
}

/// `/apis/read.trilobite.dev`.
pub(super) fn group() -> Value {
    let version = json!({"groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION});
    json!({"kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [version], "preferredVersion": version})
}

/// `/apis/read.trilobite.dev/v1alpha1`.
pub(super) fn version() -> Value {
    let mut resources = Vec::new();
    for resource in Resource::ALL {
        let (kind, namespaced) = (resource.kind().as_str(), resource.is_namespaced());
        resources.push(json!({
            "name": resource.plural(), "singularName": resource.singular(), "namespaced": namespaced, "kind": kind,
            "verbs": resource.verbs(),
        }));
        resources.extend(resource.subresources().iter().map(|subresource| {
            json!({
                "name": format!("{}/{subresource}", resource.plural()), "singularName": "", "namespaced": namespaced,
                "kind": kind, "verbs": ["get"],
            })
        }));
    }
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": resources,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_form_lists_resources_and_subresources() {
        let version = version();
        let names: Vec<&str> =
            version["resources"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "events",
                "flows",
                "profiles",
                "profiles/flamegraph",
                "profiles/folded",
                "profiles/pprof",
                "requests",
                "nodes"
            ]
        );
        assert_eq!(version["groupVersion"], "read.trilobite.dev/v1alpha1");
    }

    #[test]
    fn aggregated_form_is_given_to_those_who_accept_it() {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        let (media_type, document) = aggregated(accept).unwrap();
        assert_eq!(media_type, AGGREGATED);
        let resources = document["items"][0]["versions"][0]["resources"].as_array().unwrap();
        assert_eq!((resources.len(), resources[4]["scope"].as_str()), (5, Some("Cluster")));
        assert_eq!(resources[2]["subresources"][0]["subresource"], "flamegraph");
        assert!(aggregated("application/json").is_none() && aggregated("").is_none());
    }

    #[test]
    fn nothing_can_be_created_or_deleted() {
        // Namespaces are deleted without asking for resources that have no verb delete.
        for resource in Resource::ALL {
            assert!(resource.verbs().iter().all(|verb| ["get", "list", "watch"].contains(verb)));
        }
    }
}
