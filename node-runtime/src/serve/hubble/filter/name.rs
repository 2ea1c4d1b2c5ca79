//! Filters by names of pods, Services, workloads and nodes, and by numbers of identities.

use regex::Regex;
use trilobite_api::flow::Workload;

use super::predicate::{self, BuildResult};
use crate::layers::network::{
    endpoint::{Endpoint, Service},
    flow::Flow,
};

/// Cluster of a node whose name has none.
const CLUSTER: &str = "default";

/// A whole name: labels joined by dots.
const ANY_NAME: &str = r"(?:[-0-9_a-z]+(?:\.[-0-9_a-z]+)*)";

/// `namespace/prefix`; both may be empty. Without a slash the namespace is `default`.
struct NamePrefix {
    namespace: String,
    prefix: String,
}

pub(super) fn pod(wanted: &[String], of: fn(&Flow) -> &Endpoint) -> BuildResult {
    let wanted = namespaced(wanted)?;
    Ok(Box::new(move |flow| matches(&wanted, &of(flow).namespace, &of(flow).pod)))
}

pub(super) fn service(wanted: &[String], of: fn(&Flow) -> Option<&Service>) -> BuildResult {
    let wanted = namespaced(wanted)?;
    Ok(Box::new(move |flow| of(flow).is_some_and(|service| matches(&wanted, &service.namespace, &service.name))))
}

pub(super) fn workload(wanted: Vec<Workload>, of: fn(&Flow) -> &Endpoint) -> BuildResult {
    let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
    Ok(Box::new(move |flow| {
        let found = of(flow).workload.as_ref();
        found.is_some_and(|(name, kind)| wanted.iter().any(|one| is(&one.name, name) && is(&one.kind, kind)))
    }))
}

pub(super) fn identity(wanted: Vec<u32>, of: fn(&Flow) -> &Endpoint) -> BuildResult {
    Ok(Box::new(move |flow| wanted.contains(&of(flow).identity)))
}

/// Whole names of clusters, without patterns.
pub(super) fn cluster(wanted: Vec<String>, of: fn(&Flow) -> &Endpoint) -> BuildResult {
    if wanted.iter().any(String::is_empty) {
        return Err("a name is empty".to_owned());
    }
    Ok(Box::new(move |flow| wanted.iter().any(|one| one == of(flow).cluster_name())))
}

/// `[cluster/]node`, each with `*`. The result is the same for every flow of this node.
pub(super) fn node(wanted: &[String], node: &str) -> BuildResult {
    let full = if node.contains('/') { node.to_owned() } else { format!("{CLUSTER}/{node}") };
    let mut answer = false;
    for pattern in wanted {
        let (cluster, name) = match pattern.split('/').collect::<Vec<_>>()[..] {
            [""] => return Err("a pattern is empty".to_owned()),
            [name] => ("", name),
            [cluster, name] => (cluster, name),
            _ => return Err(format!("{pattern} has more than one slash")),
        };
        let text = format!(r"\A{}/{}\z", name_pattern(cluster)?, name_pattern(name)?);
        let regex = Regex::new(&text).map_err(|_| format!("{pattern} is not a pattern"))?;
        answer |= !node.is_empty() && regex.is_match(&full);
    }
    Ok(predicate::constant(answer))
}

fn namespaced(wanted: &[String]) -> Result<Vec<NamePrefix>, String> {
    let one = |text: &String| {
        let mut parts = text.split('/');
        match (parts.next().unwrap_or_default(), parts.next()) {
            ("", None) => Err("a name is empty".to_owned()),
            (name, None) => Ok(NamePrefix { namespace: "default".to_owned(), prefix: name.to_owned() }),
            (namespace, Some(prefix)) => Ok(NamePrefix { namespace: namespace.to_owned(), prefix: prefix.to_owned() }),
        }
    };
    wanted.iter().map(one).collect()
}

fn matches(wanted: &[NamePrefix], namespace: &str, name: &str) -> bool {
    if namespace.is_empty() && name.is_empty() {
        return false;
    }
    wanted.iter().any(|one| name.starts_with(&one.prefix) && (one.namespace.is_empty() || one.namespace == namespace))
}

fn name_pattern(pattern: &str) -> Result<String, String> {
    if pattern.is_empty() {
        return Ok(ANY_NAME.to_owned());
    }
    let lower = pattern.trim().strip_suffix('.').unwrap_or(pattern.trim()).to_lowercase();
    if lower.is_empty() || lower.ends_with('.') {
        return Err(format!("{pattern} is not a name"));
    }
    let mut text = String::new();
    for letter in lower.chars() {
        match letter {
            '.' => text.push_str(r"\."),
            '*' => text.push_str("[-.0-9a-z]*"),
            '-' | '_' | '0'..='9' | 'a'..='z' => text.push(letter),
            _ => return Err(format!("{pattern} holds {letter:?}, which names do not contain")),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::flow::samples::syn;

    #[test]
    fn pod_matches_by_namespace_and_prefix() {
        for (wanted, answer) in
            [("shop/", true), ("shop/front", true), ("/front", true), ("front", false), ("store/front", false)]
        {
            assert_eq!(
                pod(&[wanted.to_owned()], crate::serve::hubble::filter::predicate::source).unwrap()(&syn()),
                answer,
                "{wanted}"
            );
        }
        assert!(pod(&[String::new()], crate::serve::hubble::filter::predicate::source).is_err());
    }

    #[test]
    fn node_pattern_may_name_the_cluster() {
        for (pattern, answer) in
            [("n1", true), ("n*", true), ("default/n1", true), ("east/n1", false), ("default/", true), ("n", false)]
        {
            assert_eq!(node(&[pattern.to_owned()], "n1").unwrap()(&syn()), answer, "{pattern}");
        }
        for pattern in ["", "a/b/c", "n?", "n1.."] {
            assert!(node(&[pattern.to_owned()], "n1").is_err(), "{pattern}");
        }
    }
}
