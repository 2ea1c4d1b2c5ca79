//! `profiles/NAME/flamegraph`, `/folded` and `/pprof`: the results of all nodes, merged.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Duration, Instant, timeout, timeout_at},
};
use tonic::{Code, Status};
use trilobite_api::{
    profiles::{
        GetProfileRequest, Profile, ProfilePart, get_profile_response::Content, profiles_client::ProfilesClient,
    },
    read_scope::ReadScope,
};
use trilobite_flame_graph::{ProfileSummary, ProfileTitle, draw};
use trilobite_folded_stacks::{
    Folded,
    pprof::{self, Sampling},
};

use super::{
    ask_nodes::ask_nodes, coverage::CoverageTracker, follow::OpenError, stream_item::nanoseconds, stream_query::scoped,
    watch::Reader,
};
use crate::{agents::Connected, api_error::ApiError};

/// Bytes of the stacks of all nodes together.
const MAX_FOLDED: usize = 8 << 20;
/// Limit for a result, beyond the time for which a running profile is waited for.
const RESULT_TIMEOUT: Duration = Duration::from_secs(10);
/// One at a time, because a picture takes several times the memory of its stacks.
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
    /// A node still samples.
    is_running: bool,
    /// Why a node has no result.
    problems: Vec<String>,
}

/// The result of one AppProfile.
pub async fn profile_result(
    reader: &Arc<Reader>,
    scope: &ReadScope,
    namespace: &str,
    name: &str,
    format: ResultFormat,
    wait_for: Duration,
) -> Result<Response, ApiError> {
    let coverage = CoverageTracker::default();
    let merged = merge(reader, scope, &format!("{namespace}/{name}"), wait_for, &coverage).await?;
    let found = coverage.coverage();
    if merged.is_running {
        return Err(ApiError::conflict(
            format!("profile {namespace}/{name} is still running: set waitSeconds, or watch it until it is Done"),
            5,
        ));
    }
    if merged.profiles.is_empty() {
        let nodes = found.nodes;
        let detail = match merged.problems.first() {
            Some(problem) => problem.clone(),
            None => format!(
                "none of the {} nodes that answered has it ({} were asked); results are kept for an hour",
                nodes.answered, nodes.asked
            ),
        };
        return Err(ApiError::not_found("profiles", name, &detail));
    }
    let target = target(&merged.profiles, namespace, name);
    let _turn = ONE_AT_A_TIME.acquire().await;
    // On another thread, so that watches go on.
    let written = tokio::task::spawn_blocking(move || write(&merged, format, &target)).await;
    let failed = |error: &dyn std::fmt::Display| ApiError::internal(format!("cannot write the result: {error}"));
    let body = written.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, format.content_type());
    if let Ok(value) = HeaderValue::from_str(&serde_json::to_string(&found).unwrap_or_default()) {
        response.headers_mut().insert(COVERAGE, value);
    }
    Ok(response)
}

async fn merge(
    reader: &Arc<Reader>,
    scope: &ReadScope,
    name: &str,
    wait_for: Duration,
    coverage: &CoverageTracker,
) -> Result<Merged, ApiError> {
    let merged: Mutex<Merged> = Mutex::default();
    let deadline = Instant::now() + wait_for + RESULT_TIMEOUT;
    let ask = |node: String| {
        let merged = &merged;
        async move {
            let fetched = timeout_at(deadline, fetch(reader, scope, &node, name, wait_for)).await;
            match fetched.unwrap_or_else(|_| Err(FetchError::Node(OpenError::Late("no result in time".into())))) {
                Ok((profile, folded)) => {
                    coverage.set_answered(&node);
                    merged.lock().add(&node, profile, &folded);
                }
                Err(FetchError::Unknown) => coverage.set_answered(&node),
                Err(FetchError::Running) => {
                    coverage.set_answered(&node);
                    merged.lock().is_running = true;
                }
                Err(FetchError::Node(error)) => error.record(&node, coverage),
            }
        }
    };
    ask_nodes(&reader.pool, coverage, |_| true, ask).await;
    let merged = merged.into_inner();
    if merged.bytes > MAX_FOLDED {
        return Err(ApiError::internal(format!(
            "the stacks of profile {name} are larger than {} MiB; fetch them node by node",
            MAX_FOLDED >> 20
        )));
    }
    Ok(merged)
}

impl Merged {
    fn add(&mut self, node: &str, profile: Profile, folded: &[u8]) {
        self.bytes += folded.len();
        if self.bytes > MAX_FOLDED {
            return;
        }
        match self.folded.add(&String::from_utf8_lossy(folded)) {
            Ok(()) => self.profiles.push(profile),
            Err(error) => self.problems.push(format!("{node}: {error}")),
        }
        self.profiles.sort_by(|one, other| one.node.cmp(&other.node));
    }
}

#[derive(Debug)]
enum FetchError {
    /// The node does not know the profile.
    Unknown,
    Running,
    Node(OpenError),
}

impl From<Status> for FetchError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::NotFound => Self::Unknown,
            Code::FailedPrecondition => Self::Running,
            _ => Self::Node(OpenError::from(&status)),
        }
    }
}

async fn fetch(
    reader: &Arc<Reader>,
    scope: &ReadScope,
    node: &str,
    name: &str,
    wait_for: Duration,
) -> Result<(Profile, Vec<u8>), FetchError> {
    let connected = reader.pool.connected(node).await.map_err(|error| FetchError::Node(error.into()))?;
    let fetched = match wait_for {
        Duration::ZERO => read_result(&connected, scope, name, false).await,
        _ => match timeout(wait_for, read_result(&connected, scope, name, true)).await {
            Ok(fetched) => fetched,
            // It has either ended just now, or still runs.
            Err(_) => read_result(&connected, scope, name, false).await,
        },
    };
    match fetched {
        Ok(fetched) => Ok(fetched),
        Err(status) => {
            reader.pool.report_failure(node, &connected, &status).await;
            Err(status.into())
        }
    }
}

async fn read_result(
    connected: &Connected,
    scope: &ReadScope,
    name: &str,
    wait: bool,
) -> Result<(Profile, Vec<u8>), Status> {
    let request = GetProfileRequest { name: name.to_owned(), parts: vec![ProfilePart::Folded.into()], wait };
    let mut chunks = ProfilesClient::new(connected.channel.clone()).get(scoped(request, scope)?).await?.into_inner();
    let (mut profile, mut folded) = (Profile::default(), Vec::new());
    while let Some(chunk) = chunks.next().await {
        match chunk?.content {
            Some(Content::Profile(first)) => profile = first,
            Some(Content::Folded(bytes)) if folded.len() + bytes.len() <= MAX_FOLDED => folded.extend(bytes),
            Some(Content::Folded(_)) => return Err(Status::resource_exhausted("its stacks are too large")),
            Some(Content::Svg(_)) | None => {}
        }
    }
    Ok((profile, folded))
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
        merged.add("birch", profile("birch", 3), b"cart-7/app;a;a;main;dig 3\n");
        merged.add("alder", profile("alder", 4), b"cart-7/app;a;a;main;dig 4\n");
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
        merged.add("cedar", Profile::default(), b"main many\n");
        assert_eq!((merged.profiles.len(), merged.problems.len()), (2, 1));
        assert!(merged.problems[0].starts_with("cedar: line 1 is not a folded stack"), "{:?}", merged.problems);
    }

    #[test]
    fn stacks_have_a_bound() {
        let mut merged = Merged::default();
        let folded = "a 1\n".repeat(MAX_FOLDED / 4);
        merged.add("alder", Profile::default(), folded.as_bytes());
        merged.add("birch", Profile::default(), b"b 1\n");
        assert_eq!((merged.profiles.len(), merged.bytes), (1, MAX_FOLDED + 4));
    }
}
