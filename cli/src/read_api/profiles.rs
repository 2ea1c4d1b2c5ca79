//! Profiles as the read API has them.

use jiff::Timestamp;
use serde::Deserialize;
use trilobite_api::profiles::Profile;

use super::{ReadApi, answer::Item, query::Query};
use crate::cluster::ClusterError;

/// Seconds that one request waits for the end of a profile.
const WAIT_SECONDS: u64 = 50;

/// Of all nodes together.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ProfileState {
    /// `namespace/name` of the AppProfile.
    pub(crate) name: String,
    pub(crate) samples: u64,
    pub(crate) lost: u64,
    pub(crate) nodes: Vec<NodeProfile>,
}

/// What one agent says of the profile.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NodeProfile {
    pub(crate) node: String,
    frequency_hz: u32,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    samples: u64,
    truncated: u64,
    unmapped: u64,
    lost: u64,
    undecided: u64,
    caller_missing: u64,
    remapped: u64,
    files_dropped: u64,
    mappings_dropped: u64,
    cpu_limit_millis: Option<u64>,
    problem: String,
}

/// The folded stacks of all nodes together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FoldedAnswer {
    Text(String),
    /// The profile has not ended yet.
    Running,
    /// No node has a result.
    Missing(String),
}

impl ReadApi {
    /// The profiles that nodes know.
    pub(crate) async fn profiles(&self, namespace: Option<&str>) -> Result<Vec<ProfileState>, ClusterError> {
        let list = self.list(&Query::new("profiles", namespace)).await?;
        Ok(list.items.iter().filter_map(|item| ProfileState::deserialize(&item.object).ok()).collect())
    }

    /// The profile now; none where no node knows it yet.
    pub(crate) async fn profile(&self, namespace: &str, name: &str) -> Result<Option<ProfileState>, ClusterError> {
        let query = Query::new("profiles", Some(namespace)).object(name, "");
        let item: Item = match self.client.request(query.request()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            read => read.map_err(|error| query.failed(error))?,
        };
        let doing = || format!("reading profile {namespace}/{name}");
        let parsed = ProfileState::deserialize(&item.object);
        parsed.map(Some).map_err(|error| ClusterError::Api { doing: doing(), detail: error.to_string() })
    }

    /// The result, after a wait for the end of the profile.
    pub(crate) async fn folded(&self, namespace: &str, name: &str) -> Result<FoldedAnswer, ClusterError> {
        let query = Query::new("profiles", Some(namespace)).object(name, "folded");
        let query = query.parameter("waitSeconds", WAIT_SECONDS);
        match self.client.request_text(query.request()).await {
            Ok(text) => Ok(FoldedAnswer::Text(text)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(FoldedAnswer::Running),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(FoldedAnswer::Missing(status.message.clone())),
            Err(error) => Err(query.failed(error)),
        }
    }
}

impl From<NodeProfile> for Profile {
    fn from(from: NodeProfile) -> Self {
        let time =
            |time: Timestamp| prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() };
        Self {
            node: from.node,
            frequency_hz: from.frequency_hz,
            started: from.started.map(time),
            ended: from.ended.map(time),
            samples: from.samples,
            truncated: from.truncated,
            unmapped: from.unmapped,
            lost: from.lost,
            undecided: from.undecided,
            caller_missing: from.caller_missing,
            remapped: from.remapped,
            files_dropped: from.files_dropped,
            mappings_dropped: from.mappings_dropped,
            cpu_limit_millis: from.cpu_limit_millis,
            problem: from.problem,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_of_each_node_becomes_what_an_agent_says() {
        let json = serde_json::json!({"name": "shop/slow", "state": "Done", "samples": 7, "lost": 1, "nodes": [
            {"node": "alder", "frequencyHz": 49, "started": "1970-01-01T00:00:10Z", "samples": 7, "callerMissing": 2}]});
        let state: ProfileState = serde_json::from_value(json).unwrap();
        assert_eq!((state.samples, state.lost), (7, 1));
        let profile = Profile::from(state.nodes[0].clone());
        assert_eq!(
            (profile.node.as_str(), profile.frequency_hz, profile.samples, profile.caller_missing),
            ("alder", 49, 7, 2)
        );
        assert_eq!((profile.started.unwrap().seconds, profile.ended), (10, None));
    }
}
