//! OpenAPI, as much as `kubectl explain` and the API server's aggregation need.

use serde_json::{Map, Value, json};
use trilobite_crds::read_api::{GROUP, VERSION};

use super::path::Resource;

fn info() -> Value {
    json!({"title": "Trilobite's read API", "version": VERSION})
}

/// `/openapi/v2`: without definitions, because clients take those of v3.
pub(super) fn v2() -> Value {
    json!({"swagger": "2.0", "info": info(), "paths": {}, "definitions": {}})
}

/// `/openapi/v3`.
pub(super) fn v3_paths() -> Value {
    let path = format!("apis/{GROUP}/{VERSION}");
    let url = format!("/openapi/v3/{path}?hash={}", env!("CARGO_PKG_VERSION"));
    json!({"paths": {path: {"serverRelativeURL": url}}})
}

/// `/openapi/v3/apis/read.trilobite.dev/v1alpha1`.
pub(super) fn v3_group() -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for resource in Resource::ALL {
        let kind = resource.kind().as_str();
        let group_version_kind = json!({"group": GROUP, "version": VERSION, "kind": kind});
        let text = |description: &str| json!({"type": "string", "description": description});
        schemas.insert(
            format!("dev.trilobite.read.{VERSION}.{kind}"),
            json!({
                "type": "object", "description": description(resource),
                "properties": {
                    "apiVersion": text("Version of the schema."), "kind": text("Kind of the object."),
                    "metadata": {"type": "object", "description": "Name and namespace, and the labels of the pod."},
                    "object": {"type": "object", "description": object(resource),
                               "x-kubernetes-preserve-unknown-fields": true},
                },
                "x-kubernetes-group-version-kind": [group_version_kind],
            }),
        );
        let prefix = if resource.is_namespaced() { "namespaces/{namespace}/" } else { "" };
        let schema = json!({"$ref": format!("#/components/schemas/dev.trilobite.read.{VERSION}.{kind}")});
        let answer = json!({"description": "OK", "content": {"application/json": {"schema": schema}}});
        paths.insert(
            format!("/apis/{GROUP}/{VERSION}/{prefix}{}/{{name}}", resource.plural()),
            json!({"get": {"responses": {"200": answer}, "x-kubernetes-action": "get",
                           "x-kubernetes-group-version-kind": group_version_kind}}),
        );
    }
    json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": schemas}})
}

fn description(resource: Resource) -> &'static str {
    match resource {
        Resource::Events => "An event of a process, as Tetragon's clients know it.",
        Resource::Flows => "A network flow, as Hubble's clients know it.",
        Resource::Requests => "A request of a pod that an AppProfile selects, with its answer.",
        Resource::Profiles => "A CPU profile of an AppProfile, of all nodes together.",
        Resource::Nodes => "Whether the agent of a node answers the relay.",
    }
}

fn object(resource: Resource) -> &'static str {
    match resource {
        Resource::Events => "A line of 'tetra getevents -o json'.",
        Resource::Flows => "A line of 'hubble observe -o jsonpb'.",
        Resource::Requests => "Names, times, outcome, and the columns of the protocol's table.",
        Resource::Profiles => "State and counts, of all nodes and of each.",
        Resource::Nodes => "State, version, and why a node did not answer.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_of_each_kind_is_referred_to_by_its_path() {
        let document = v3_group();
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 5);
        for path in paths.values() {
            let reference =
                path.pointer("/get/responses/200/content/application~1json/schema/$ref").unwrap().as_str().unwrap();
            assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
        }
        assert!(v3_paths()["paths"]["apis/read.trilobite.dev/v1alpha1"]["serverRelativeURL"].is_string());
        assert_eq!(v2()["swagger"], "2.0");
    }
}
