//! `profiles/NAME/flamegraph`, `/folded` and `/pprof`: the results of all nodes, merged.

use std::sync::Arc;

use axum::{
    http::{HeaderName, HeaderValue},
    response::Response,
};
use futures::StreamExt;
use tokio::{
    sync::Semaphore,
    time::{Duration, Instant, sleep, timeout, timeout_at},
};
use tonic::{Code, Status};
use trilobite_api::{
    profiles::{
        GetProfileRequest, Profile, ProfilePart, ProfileState, get_profile_response::Content,
        profiles_client::ProfilesClient,
    },
    read_scope::ReadScope,
};
use trilobite_flame_graph::{ProfileSummary, ProfileTitle, draw};
use trilobite_folded_stacks::{
    Folded,
    pprof::{self, Sampling},
};

use super::{
    claim::Claim,
    coverage::CoverageTracker,
    node_failure::{Cause, NodeFailure},
    profiles::{ProfileQuery, profiles_of_nodes},
    stream_item::nanoseconds,
    stream_query::scoped,
    watch::Reader,
};
use crate::{agents::Connected, api_error::ApiError};

/// Bytes of the stacks of all nodes together.
const MAX_FOLDED: usize = 8 << 20;
/// How often nodes are asked whether the profile still runs.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a result waits while others are made.
const TURN_TIMEOUT: Duration = Duration::from_secs(20);
/// Limits for the results of all nodes, and for that of one.
const RESULT_TIMEOUT: Duration = Duration::from_secs(10);
const NODE_TIMEOUT: Duration = Duration::from_secs(4);
/// One result is read and written at a time, node by node: it takes several times the memory of its stacks.
static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);
/// The coverage of an answer that is no JSON.
const COVERAGE: HeaderName = HeaderName::from_static("trilobite-coverage");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultFormat {
    FlameGraph,
    Folded,
    Pprof,
}

impl ResultFormat {
    pub fn from_subresource(name: &str) -> Option<Self> {
        Some(match name {
            "flamegraph" => Self::FlameGraph,
            "folded" => Self::Folded,
            "pprof" => Self::Pprof,
            _ => return None,
        })
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::FlameGraph => "image/svg+xml",
            Self::Folded => "text/plain; charset=utf-8",
            Self::Pprof => "application/octet-stream",
        })
    }
}

/// What the nodes have sent.
#[derive(Default)]
struct Merged {
    folded: Folded,
    bytes: usize,
    profiles: Vec<Profile>,
}

/// The result of one AppProfile.
pub async fn profile_result(
    reader: &Arc<Reader>,
    mut claim: Claim,
    scope: &ReadScope,
    namespace: &str,
    name: &str,
    format: ResultFormat,
    wait_for: Duration,
) -> Result<Response, ApiError> {
    let coverage = CoverageTracker::new(scope);
    let full_name = format!("{namespace}/{name}");
    let nodes = nodes_with_result(reader, scope, namespace, name, wait_for, &coverage).await?;
    let turn = timeout(TURN_TIMEOUT, ONE_AT_A_TIME.acquire()).await;
    let turn = turn.map_err(|_| ApiError::too_many_requests("other results are being made"))?;
    let merged = merge(reader, scope, &full_name, nodes, &coverage).await?;
    let found = coverage.coverage();
    if merged.profiles.is_empty() {
        let detail = match found.shortfall() {
            detail if detail.is_empty() => format!(
                "none of the {} nodes that answered has it ({} were asked); results are kept for an hour",
                found.nodes.answered, found.nodes.asked
            ),
            detail => detail,
        };
        return Err(ApiError::not_found("profiles", name, &detail));
    }
    let target = target(&merged.profiles, namespace, name);
    // On another thread, so that watches go on.
    let written = tokio::task::spawn_blocking(move || write(&merged, format, &target)).await;
    let failed = |error: &dyn std::fmt::Display| {
        tracing::warn!(%error, profile = full_name, "cannot write a result");
        ApiError::internal("cannot write the result; see the relay's log")
    };
    let body = written.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    let mut reservation = claim.share.empty_reservation();
    if !reservation.resize(body.len()) {
        // Larger than what its tenant may have waiting: no other result is made until it is written.
        claim.slot = Box::new((claim.slot, turn));
    }
    let mut response = claim.held_answer(reservation, format.content_type(), body);
    if let Ok(value) = HeaderValue::from_str(&serde_json::to_string(&found).unwrap_or_default()) {
        response.headers_mut().insert(COVERAGE, value);
    }
    Ok(response)
}

/// The nodes that have a result; waits for a profile that still runs.
async fn nodes_with_result(
    reader: &Arc<Reader>,
    scope: &ReadScope,
    namespace: &str,
    name: &str,
    wait_for: Duration,
    coverage: &CoverageTracker,
) -> Result<Vec<String>, ApiError> {
    let deadline = Instant::now() + wait_for;
    let query = ProfileQuery::named(namespace, name);
    loop {
        let found = profiles_of_nodes(reader, &query, scope, coverage).await;
        let profiles: Vec<Profile> = found.into_values().flatten().collect();
        if !profiles.iter().any(|profile| profile.state() == ProfileState::Running) {
            return Ok(profiles.into_iter().map(|profile| profile.node).collect());
        }
        if Instant::now() >= deadline {
            return Err(still_runs(&format!("{namespace}/{name}")));
        }
        sleep(POLL_INTERVAL.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
}

fn still_runs(name: &str) -> ApiError {
    ApiError::conflict(format!("profile {name} is still running: set waitSeconds, or watch it until it is Done"), 5)
}

/// One node after the other, so that the result of one alone is in memory beside what is merged.
async fn merge(
    reader: &Arc<Reader>,
    scope: &ReadScope,
    name: &str,
    nodes: Vec<String>,
    coverage: &CoverageTracker,
) -> Result<Merged, ApiError> {
    let mut merged = Merged::default();
    let deadline = Instant::now() + RESULT_TIMEOUT;
    for node in nodes {
        let limit = deadline.min(Instant::now() + NODE_TIMEOUT);
        let left = MAX_FOLDED - merged.bytes;
        let fetched = timeout_at(limit, fetch(reader, scope, &node, name, left)).await;
        match fetched.unwrap_or_else(|_| Err(FetchError::Node(NodeFailure::new(Cause::Late, "no result in time")))) {
            Ok((profile, folded)) => {
                if let Err(failure) = merged.add(profile, &folded) {
                    coverage.set_failed(&node, failure);
                }
            }
            // It has been deleted meanwhile, or has ended without a result.
            Err(FetchError::Unknown) => {}
            Err(FetchError::Running) => return Err(still_runs(name)),
            Err(FetchError::TooLarge) => {
                return Err(ApiError::internal(format!(
                    "the stacks of profile {name} are larger than {} MiB; fetch them node by node",
                    MAX_FOLDED >> 20
                )));
            }
            Err(FetchError::Node(failure)) => coverage.set_failed(&node, failure),
        }
    }
    Ok(merged)
}

impl Merged {
    fn add(&mut self, profile: Profile, folded: &[u8]) -> Result<(), NodeFailure> {
        self.folded
            .add(&String::from_utf8_lossy(folded))
            .map_err(|error| NodeFailure::new(Cause::OtherVersion, error.to_string()))?;
        self.bytes += folded.len();
        self.profiles.push(profile);
        self.profiles.sort_by(|one, other| one.node.cmp(&other.node));
        Ok(())
    }
}

#[derive(Debug)]
enum FetchError {
    /// The node does not know the profile.
    Unknown,
    Running,
    TooLarge,
    Node(NodeFailure),
}

async fn fetch(
    reader: &Arc<Reader>,
    scope: &ReadScope,
    node: &str,
    name: &str,
    max_bytes: usize,
) -> Result<(Profile, Vec<u8>), FetchError> {
    let connected = reader.pool.connected(node).await.map_err(|error| FetchError::Node(error.into()))?;
    match read_result(&connected, scope, name, max_bytes).await {
        Ok(Some((profile, folded))) => Ok((Profile { node: node.to_owned(), ..profile }, folded)),
        Ok(None) => Err(FetchError::TooLarge),
        Err(status) => {
            reader.pool.report_failure(node, &connected, &status).await;
            Err(match status.code() {
                Code::NotFound => FetchError::Unknown,
                Code::FailedPrecondition => FetchError::Running,
                _ => FetchError::Node(NodeFailure::from(&status)),
            })
        }
    }
}

/// None if the stacks are larger than `max_bytes`.
async fn read_result(
    connected: &Connected,
    scope: &ReadScope,
    name: &str,
    max_bytes: usize,
) -> Result<Option<(Profile, Vec<u8>)>, Status> {
    let request = GetProfileRequest { name: name.to_owned(), parts: vec![ProfilePart::Folded.into()], wait: false };
    let mut chunks = ProfilesClient::new(connected.channel.clone()).get(scoped(request, scope)?).await?.into_inner();
    let (mut profile, mut folded) = (Profile::default(), Vec::new());
    while let Some(chunk) = chunks.next().await {
        match chunk?.content {
            Some(Content::Profile(first)) => profile = first,
            Some(Content::Folded(bytes)) if folded.len() + bytes.len() <= max_bytes => folded.extend(bytes),
            Some(Content::Folded(_)) => return Ok(None),
            Some(Content::Svg(_)) | None => {}
        }
    }
    Ok(Some((profile, folded)))
}

/// The pod if there is one, else the AppProfile.
fn target(profiles: &[Profile], namespace: &str, name: &str) -> String {
    let mut pods: Vec<&String> = profiles.iter().flat_map(|profile| &profile.pods).collect();
    pods.dedup();
    match pods.as_slice() {
        [only] => (*only).clone(),
        _ => format!("{namespace}/{name}"),
    }
}

fn write(merged: &Merged, format: ResultFormat, target: &str) -> std::io::Result<Vec<u8>> {
    let (title, summary, sampling) = head(&merged.profiles, target);
    match format {
        ResultFormat::Folded => Ok(merged.folded.text().into_bytes()),
        ResultFormat::FlameGraph => draw(&merged.folded.text(), &title.to_string(), &summary.to_string()),
        ResultFormat::Pprof => pprof::encode(&merged.folded, sampling, &format!("{title}\n{summary}")),
    }
}

/// What is said above a picture: sums over all nodes, and the longest time of sampling.
fn head(profiles: &[Profile], target: &str) -> (ProfileTitle, ProfileSummary, Sampling) {
    let sum = |of: fn(&Profile) -> u64| profiles.iter().map(of).fold(0, u64::saturating_add);
    let time = |time: Option<&prost_types::Timestamp>| nanoseconds(time);
    let sampled_ms = |profile: &Profile| {
        let started = time(profile.started.as_ref());
        time(profile.ended.as_ref()).saturating_sub(started) / 1_000_000
    };
    let sampling = Sampling {
        frequency_hz: profiles.iter().map(|profile| profile.frequency_hz).max().unwrap_or_default(),
        started_ns: profiles
            .iter()
            .map(|profile| i64::try_from(time(profile.started.as_ref())).unwrap_or_default())
            .min()
            .unwrap_or_default(),
        sampled_ms: profiles.iter().map(sampled_ms).max().unwrap_or_default(),
    };
    let summary = ProfileSummary {
        samples: sum(|profile| profile.samples),
        truncated: sum(|profile| profile.truncated),
        caller_missing: sum(|profile| profile.caller_missing),
        lost: sum(|profile| profile.lost),
        undecided: sum(|profile| profile.undecided),
        unmapped: sum(|profile| profile.unmapped),
        remapped: sum(|profile| profile.remapped),
        files_dropped: sum(|profile| profile.files_dropped),
        mappings_dropped: sum(|profile| profile.mappings_dropped),
    };
    let title = ProfileTitle {
        target: target.to_owned(),
        nodes: profiles.iter().map(|profile| profile.node.clone()).collect(),
        cpu_limit_millis: if let [only] = profiles { only.cpu_limit_millis } else { None },
        samples: summary.samples,
        lost: summary.lost,
        frequency_hz: sampling.frequency_hz,
        sampled_ms: sampling.sampled_ms,
    };
    (title, summary, sampling)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged() -> Merged {
        let profile = |node: &str, samples| Profile {
            node: node.into(),
            samples,
            frequency_hz: 99,
            pods: vec!["shop/cart-7".into()],
            started: Some(prost_types::Timestamp { seconds: 10, nanos: 0 }),
            ended: Some(prost_types::Timestamp { seconds: 40, nanos: 0 }),
            ..Profile::default()
        };
        let mut merged = Merged::default();
        merged.add(profile("birch", 3), b"cart-7/app;a;a;main;dig 3\n").unwrap();
        merged.add(profile("alder", 4), b"cart-7/app;a;a;main;dig 4\n").unwrap();
        merged
    }

    #[test]
    fn stacks_of_all_nodes_are_added_up() {
        let folded = write(&merged(), ResultFormat::Folded, "shop/cart-7").unwrap();
        assert_eq!(String::from_utf8(folded).unwrap(), "cart-7/app;a;a;main;dig 7\n");
        let svg = String::from_utf8(write(&merged(), ResultFormat::FlameGraph, "shop/cart-7").unwrap()).unwrap();
        for text in ["CPU of shop/cart-7 on alder, birch", "7 samples at 99 Hz in 30.0 s", "dig (7 samples"] {
            assert!(svg.contains(text), "{text}");
        }
        assert_eq!(write(&merged(), ResultFormat::Pprof, "shop/cart-7").unwrap()[..2], [0x1f, 0x8b]);
    }

    #[test]
    fn broken_stacks_of_a_node_are_a_problem_and_not_in_the_picture() {
        let mut merged = merged();
        let failure = merged.add(Profile::default(), b"main many\n").unwrap_err();
        assert_eq!(merged.profiles.len(), 2);
        assert!(failure.detail.starts_with("line 1 is not a folded stack"), "{failure:?}");
    }
}
