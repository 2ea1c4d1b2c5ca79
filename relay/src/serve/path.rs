//! Paths of the aggregated API.

use trilobite_crds::read_api::{GROUP, VERSION};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    Events,
    Flows,
    Profiles,
    Requests,
    Nodes,
}

impl Resource {
    pub const ALL: [Self; 5] = [Self::Events, Self::Flows, Self::Profiles, Self::Requests, Self::Nodes];

    pub fn plural(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Flows => "flows",
            Self::Profiles => "profiles",
            Self::Requests => "requests",
            Self::Nodes => "nodes",
        }
    }

    pub fn is_namespaced(self) -> bool {
        self != Self::Nodes
    }

    pub fn subresources(self) -> &'static [&'static str] {
        match self {
            Self::Profiles => &["flamegraph", "folded", "pprof"],
            Self::Events | Self::Flows | Self::Requests | Self::Nodes => &[],
        }
    }

    fn from_plural(plural: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.plural() == plural)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Without authentication.
    Alive,
    Ready,
    Metrics,
    /// `/apis`: the groups; ours alone.
    Groups,
    Group,
    Version,
    OpenApiV2,
    OpenApiV3Paths,
    OpenApiV3Group,
    Resource(ResourcePath),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourcePath {
    pub resource: Resource,
    /// None for the whole cluster.
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<&'static str>,
}

impl Endpoint {
    /// None for a path that is none of ours.
    pub fn parse(path: &str) -> Option<Self> {
        match path.trim_end_matches('/') {
            "/livez" | "/healthz" => return Some(Self::Alive),
            "/readyz" => return Some(Self::Ready),
            "/metrics" => return Some(Self::Metrics),
            "/apis" => return Some(Self::Groups),
            "/openapi/v2" => return Some(Self::OpenApiV2),
            "/openapi/v3" => return Some(Self::OpenApiV3Paths),
            _ => {}
        }
        let segments: Vec<&str> = path.trim_end_matches('/').strip_prefix('/')?.split('/').collect();
        match segments.as_slice() {
            ["openapi", "v3", "apis", group, version] if *group == GROUP && *version == VERSION => {
                Some(Self::OpenApiV3Group)
            }
            ["apis", group] if *group == GROUP => Some(Self::Group),
            ["apis", group, version] if *group == GROUP && *version == VERSION => Some(Self::Version),
            ["apis", group, version, rest @ ..] if *group == GROUP && *version == VERSION => {
                resource(rest).map(Self::Resource)
            }
            _ => None,
        }
    }
}

fn resource(segments: &[&str]) -> Option<ResourcePath> {
    let (namespace, rest) = match segments {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        rest => (None, rest),
    };
    let (plural, rest) = rest.split_first()?;
    let resource = Resource::from_plural(plural)?;
    // An object with a namespace has no path without it, and the other way round.
    if !resource.is_namespaced() && namespace.is_some()
        || resource.is_namespaced() && namespace.is_none() && !rest.is_empty()
        || namespace.is_some_and(|namespace| !is_label(namespace))
    {
        return None;
    }
    let (name, subresource) = match rest {
        [] => (None, None),
        [name] => (Some(*name), None),
        [name, subresource] => (Some(*name), Some(*subresource)),
        _ => return None,
    };
    let subresource = match subresource {
        None => None,
        Some(wanted) => Some(*resource.subresources().iter().find(|known| **known == wanted)?),
    };
    if name.is_some_and(|name| !is_name(name)) {
        return None;
    }
    Some(ResourcePath { resource, namespace: namespace.map(str::to_owned), name: name.map(str::to_owned), subresource })
}

/// Names of objects have no character that would be escaped in a path.
fn is_name(name: &str) -> bool {
    let is_inner = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"-.".contains(&letter);
    (1..=253).contains(&name.len()) && name.bytes().all(is_inner)
}

fn is_label(name: &str) -> bool {
    is_name(name) && name.len() <= 63 && !name.contains('.') && !name.starts_with('-') && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resource(path: &str) -> Option<ResourcePath> {
        match Endpoint::parse(&format!("/apis/read.trilobite.dev/v1alpha1/{path}"))? {
            Endpoint::Resource(path) => Some(path),
            _ => None,
        }
    }

    #[test]
    fn resources_are_found_by_namespace_and_name() {
        let list = resource("namespaces/payments/flows").unwrap();
        assert_eq!((list.resource, list.namespace.as_deref(), list.name), (Resource::Flows, Some("payments"), None));
        let all = resource("events").unwrap();
        assert_eq!((all.resource, all.namespace), (Resource::Events, None));
        let picture = resource("namespaces/payments/profiles/from-label/flamegraph").unwrap();
        assert_eq!((picture.name.as_deref(), picture.subresource), (Some("from-label"), Some("flamegraph")));
        assert_eq!(resource("nodes/alder.example").unwrap().name.as_deref(), Some("alder.example"));
    }

    #[test]
    fn paths_of_others_are_not_found() {
        for path in [
            "namespaces/payments",
            "namespaces/payments/nodes",
            "namespaces/Payments/flows",
            "namespaces/a,b/flows",
            "namespaces/*/flows",
            "namespaces//flows",
            "flows/x",
            "namespaces/p/flows/x/status",
            "namespaces/p/profiles/x/flamegraph/y",
            "namespaces/p/pods",
            "namespaces/p/flows/%2e%2e",
        ] {
            assert_eq!(resource(path), None, "{path}");
        }
        assert_eq!(Endpoint::parse("/apis/apps/v1"), None);
        assert_eq!(Endpoint::parse("/apis/read.trilobite.dev/v1/flows"), None);
    }

    #[test]
    fn discovery_and_probes_have_their_paths() {
        for (path, endpoint) in [
            ("/apis", Endpoint::Groups),
            ("/apis/read.trilobite.dev/", Endpoint::Group),
            ("/apis/read.trilobite.dev/v1alpha1", Endpoint::Version),
            ("/openapi/v3/apis/read.trilobite.dev/v1alpha1", Endpoint::OpenApiV3Group),
            ("/healthz", Endpoint::Alive),
            ("/readyz", Endpoint::Ready),
        ] {
            assert_eq!(Endpoint::parse(path), Some(endpoint), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_parsed_or_not_found(path in "/apis/read.trilobite.dev/v1alpha1(/(namespaces|flows|profiles|[a-z%*.,-]{0,5})){0,5}|\\PC{0,40}") {
            let _ = Endpoint::parse(&path);
        }
    }
}
