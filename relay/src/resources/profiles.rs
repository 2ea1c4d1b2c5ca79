//! `profiles`: CPU profiles of AppProfiles, those of all nodes together under the AppProfile's name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use trilobite_api::{
    profiles::{ListProfilesRequest, Profile, ProfileState, profiles_client::ProfilesClient},
    read_scope::ReadScope,
};

use super::{
    ask_nodes::ask_nodes,
    coverage::CoverageTracker,
    event_cells::cell,
    follow::call,
    object::{Metadata, Row},
    stream_item::nanoseconds,
    stream_query::scoped,
    watch::Reader,
};
use crate::{
    api_error::ApiError,
    query::{FieldRequirement, FieldSelector, Parameters},
};

/// Fields of field selectors.
pub const FIELDS: &[&str] = &["state", "node", "metadata.name", "metadata.namespace"];

#[derive(Clone, Debug)]
pub struct ProfileQuery {
    namespace: Option<String>,
    fields: FieldSelector,
}

impl ProfileQuery {
    pub fn new(namespace: Option<&str>, parameters: &Parameters) -> Result<Self, ApiError> {
        if !parameters.labels.is_empty() {
            return Err(ApiError::bad_request("labelSelector: profiles have no labels; select by metadata.name"));
        }
        Ok(Self { namespace: namespace.map(str::to_owned), fields: parameters.fields.clone() })
    }

    /// One profile.
    pub fn named(namespace: &str, name: &str) -> Self {
        let name = FieldRequirement { field: "metadata.name", value: name.to_owned(), is_negated: false };
        Self { namespace: Some(namespace.to_owned()), fields: FieldSelector { requirements: vec![name] } }
    }

    fn selects(&self, namespace: &str, name: &str) -> bool {
        self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
            && self.fields.matches("metadata.name", name)
            && self.fields.matches("metadata.namespace", namespace)
    }
}

/// The profiles of all nodes, by namespace and name.
pub async fn profiles(
    reader: &Arc<Reader>,
    query: &ProfileQuery,
    scope: &ReadScope,
    coverage: &CoverageTracker,
) -> Vec<Row> {
    let found = profiles_of_nodes(reader, query, scope, coverage).await;
    let rows = found.into_iter().map(|((namespace, name), nodes)| row(namespace, name, nodes));
    rows.filter(|row| row.cells.get(1).is_some_and(|state| query.fields.matches("state", state))).collect()
}

/// What each node has of a profile, by namespace and name.
pub(super) async fn profiles_of_nodes(
    reader: &Arc<Reader>,
    query: &ProfileQuery,
    scope: &ReadScope,
    coverage: &CoverageTracker,
) -> BTreeMap<(String, String), Vec<Profile>> {
    let found: Mutex<BTreeMap<(String, String), Vec<Profile>>> = Mutex::default();
    let ask = |node: String| {
        let found = &found;
        async move {
            let listed = call(&reader.pool, &node, |connected| async move {
                let request = scoped(ListProfilesRequest {}, scope)?;
                ProfilesClient::new(connected.channel).list(request).await
            });
            match listed.await {
                Err(failure) => coverage.set_failed(&node, failure),
                Ok((_, response)) => {
                    coverage.set_answered(&node);
                    for mut profile in response.into_inner().profiles {
                        let Some((namespace, name)) = profile.name.split_once('/') else { continue };
                        if scope.allows(namespace) && query.selects(namespace, name) {
                            let key = (namespace.to_owned(), name.to_owned());
                            // As its certificate names it.
                            profile.node.clone_from(&node);
                            found.lock().entry(key).or_default().push(profile);
                        }
                    }
                }
            }
        }
    };
    ask_nodes(&reader.pool, coverage, |node| query.fields.matches("node", node), ask).await;
    found.into_inner()
}

/// What is the same on a node and for all nodes together.
fn row(namespace: String, name: String, mut nodes: Vec<Profile>) -> Row {
    nodes.sort_by(|one, other| one.node.cmp(&other.node));
    let state = state(&nodes);
    let sum = |of: fn(&Profile) -> u64| nodes.iter().map(of).fold(0, u64::saturating_add);
    let (samples, lost) = (sum(|profile| profile.samples), sum(|profile| profile.lost));
    let pods: BTreeSet<&str> = nodes.iter().flat_map(|profile| &profile.pods).map(String::as_str).collect();
    let problems: Vec<String> = nodes
        .iter()
        .filter(|profile| !profile.problem.is_empty())
        .map(|profile| format!("{}: {}", profile.node, profile.problem))
        .collect();
    let object = json!({
        "name": format!("{namespace}/{name}"), "state": state, "samples": samples, "lost": lost, "pods": pods,
        "problem": problems.join("; "), "nodes": nodes.iter().map(node_object).collect::<Vec<_>>(),
    });
    let cells = vec![
        cell(&name),
        state.to_owned(),
        nodes.len().to_string(),
        samples.to_string(),
        lost.to_string(),
        cell(&pods.iter().copied().collect::<Vec<_>>().join(",")),
        cell(&problems.join("; ")),
    ];
    let started = nodes.iter().map(|profile| nanoseconds(profile.started.as_ref())).min().unwrap_or_default();
    Row {
        metadata: Metadata { name, namespace, time: started, is_position: false, labels: Vec::new() },
        object: object.to_string().into_bytes(),
        cells,
    }
}

/// `Running` while one node samples, else `Done` if one has a result.
fn state(nodes: &[Profile]) -> &'static str {
    let any = |state: ProfileState| nodes.iter().any(|profile| profile.state() == state);
    match (any(ProfileState::Running), any(ProfileState::Done)) {
        (true, _) => "Running",
        (false, true) => "Done",
        (false, false) => "Failed",
    }
}

fn node_object(profile: &Profile) -> Value {
    let mut object = Map::new();
    let mut set = |name: &str, value: Value| object.insert(name.to_owned(), value);
    set("node", json!(profile.node));
    set("state", json!(state(std::slice::from_ref(profile))));
    set("frequencyHz", json!(profile.frequency_hz));
    for (name, time) in [("started", &profile.started), ("ended", &profile.ended)] {
        if let Some(time) = time.as_ref().and_then(|time| Timestamp::new(time.seconds, time.nanos).ok()) {
            set(name, json!(time.to_string()));
        }
    }
    for (name, count) in [
        ("samples", profile.samples),
        ("truncated", profile.truncated),
        ("unmapped", profile.unmapped),
        ("lost", profile.lost),
        ("others", profile.others),
        ("undecided", profile.undecided),
        ("workerDeaths", profile.worker_deaths),
        ("filesDropped", profile.files_dropped),
        ("callerMissing", profile.caller_missing),
        ("remapped", profile.remapped),
        ("mappingsDropped", profile.mappings_dropped),
        ("foldedBytes", profile.folded_bytes),
    ] {
        set(name, json!(count));
    }
    if let Some(limit) = profile.cpu_limit_millis {
        set("cpuLimitMillis", json!(limit));
    }
    if !profile.problem.is_empty() {
        set("problem", json!(profile.problem));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(node: &str, state: ProfileState, samples: u64) -> Profile {
        Profile {
            name: "shop/from-label".into(),
            node: node.into(),
            state: state.into(),
            samples,
            started: Some(prost_types::Timestamp { seconds: 7, nanos: 0 }),
            pods: vec![format!("shop/cart-{node}")],
            problem: if state == ProfileState::Failed { "the worker died".into() } else { String::new() },
            ..Profile::default()
        }
    }

    fn object(nodes: Vec<Profile>) -> (Value, Vec<String>) {
        let row = row("shop".into(), "from-label".into(), nodes);
        (serde_json::from_slice(&row.object).unwrap(), row.cells)
    }

    #[test]
    fn profiles_of_all_nodes_are_one_object() {
        let (object, cells) =
            object(vec![profile("birch", ProfileState::Running, 3), profile("alder", ProfileState::Failed, 4)]);
        assert_eq!((&object["state"], &object["samples"]), (&json!("Running"), &json!(7)));
        assert_eq!(object["pods"], json!(["shop/cart-alder", "shop/cart-birch"]));
        assert_eq!(object["problem"], "alder: the worker died");
        assert_eq!(object["nodes"][0]["node"], "alder");
        assert_eq!(object["nodes"][0]["started"], "1970-01-01T00:00:07Z");
        assert_eq!(cells[..5], ["from-label", "Running", "2", "7", "0"]);
    }

    #[test]
    fn one_result_is_enough_for_done() {
        let states = |list: &[ProfileState]| state(&list.iter().map(|one| profile("a", *one, 1)).collect::<Vec<_>>());
        assert_eq!(states(&[ProfileState::Failed, ProfileState::Done]), "Done");
        assert_eq!(states(&[ProfileState::Failed]), "Failed");
    }

    #[test]
    fn labels_of_profiles_are_refused() {
        let parameters = Parameters::parse("labelSelector=app", FIELDS).unwrap();
        assert_eq!(ProfileQuery::new(None, &parameters).unwrap_err().code, 400);
    }
}
