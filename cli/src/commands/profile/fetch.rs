//! What each node made of a profile, through its agent.

use std::{future::Future, time::Duration};

use futures::{StreamExt, future::join_all};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};
use trilobite_crds::node::RESULT_WITHIN;

use super::ProfileError;
use crate::{
    agent::{Agent, PATIENCE, patiently, words},
    proto::trilobite::{
        GetProfileRequest, Profile, ProfilePart, ProfileState, WatchProfileRequest, get_profile_response::Content,
        profiles_client::ProfilesClient,
    },
};

/// How long a node may take to make its result after the last sample and to say so, and one that knows nothing to learn of it.
const UNTIL_MADE: Duration = RESULT_WITHIN.saturating_add(Duration::from_secs(5));
const UNTIL_KNOWN: Duration = Duration::from_secs(5);
/// How often an answer that may change is asked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// One node's result.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) node: String,
    pub(super) profile: Profile,
    /// Folded stacks.
    pub(super) folded: String,
}

/// The results of all that have one; why not, on standard error, for those that have none. None at all is an error.
/// Where the profile still runs, its end is waited for.
pub(super) async fn from_all(agents: &[Agent], name: &str) -> Result<Vec<Made>, ProfileError> {
    let mut made = Vec::new();
    let mut why = Vec::new();
    for (agent, outcome) in agents.iter().zip(join_all(agents.iter().map(|agent| from_one(agent, name))).await) {
        match outcome {
            Ok(one) => made.push(one),
            Err(detail) => why.push(format!("{}: {detail}", agent.name)),
        }
    }
    if made.is_empty() {
        return Err(ProfileError::NoResult { detail: why.join("; ") });
    }
    why.iter().for_each(|why| eprintln!("warning: {why}"));
    Ok(made)
}

async fn from_one(agent: &Agent, name: &str) -> Result<Made, String> {
    let mut client = ProfilesClient::new(agent.channel.clone());
    let profile = ended(&mut client, name).await?;
    if profile.state() == ProfileState::Failed {
        return Err(if profile.problem.is_empty() { "the profile failed".into() } else { profile.problem });
    }
    let request = GetProfileRequest { name: name.into(), parts: vec![ProfilePart::Folded.into()] };
    let (mut profile, mut folded) = (profile, Vec::new());
    let mut stream = patiently(client.get(request)).await.map_err(|status| words(&status))?.into_inner();
    let stuck = |_| "it has stopped in the middle of its answer".to_owned();
    while let Some(response) = timeout(PATIENCE, stream.next()).await.map_err(stuck)? {
        match response.map_err(|status| words(&status))?.content {
            Some(Content::Profile(last)) => profile = last,
            Some(Content::Folded(bytes)) => folded.extend(bytes),
            Some(Content::Svg(_)) | None => {}
        }
    }
    let folded = String::from_utf8(folded).map_err(|_| "its stacks are not UTF-8".to_owned())?;
    let node = if profile.node.is_empty() { agent.name.clone() } else { profile.node.clone() };
    Ok(Made { node, profile, folded })
}

/// Waits until the node has a result, or says that it has none.
async fn ended(client: &mut ProfilesClient<tonic::transport::Channel>, name: &str) -> Result<Profile, String> {
    let asked = Instant::now();
    loop {
        match last(client, name).await {
            Ok(profile) => return Ok(profile),
            Err(status) if status.code() == Code::NotFound && asked.elapsed() < UNTIL_KNOWN => sleep(AGAIN).await,
            Err(status) => return Err(words(&status)),
        }
    }
}

/// The last thing that watching it tells.
async fn last(client: &mut ProfilesClient<tonic::transport::Channel>, name: &str) -> Result<Profile, Status> {
    let mut stream = patiently(client.watch(WatchProfileRequest { name: name.into() })).await?.into_inner();
    let mut waiting = Waiting::default();
    while let Some(profile) = waiting.patiently(stream.next()).await? {
        let profile = profile?;
        if profile.state() != ProfileState::Running {
            return Ok(profile);
        }
        waiting.see(&profile);
    }
    Err(Status::aborted("the agent has stopped before the result was made"))
}

/// Patience that begins anew with each sample: a profile may run for an hour, a result may not be made for one.
#[derive(Default)]
struct Waiting {
    samples: u64,
    since: Option<Instant>,
}

impl Waiting {
    fn see(&mut self, profile: &Profile) {
        let sampling = profile.ended.is_none();
        if sampling || profile.samples != self.samples || self.since.is_none() {
            (self.samples, self.since) = (profile.samples, Some(Instant::now()));
        }
    }

    async fn patiently<T>(&self, what: impl Future<Output = T>) -> Result<T, Status> {
        let gone = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        let left = UNTIL_MADE.saturating_sub(gone);
        timeout(left, what).await.map_err(|_| Status::deadline_exceeded("its result was not made within a minute"))
    }
}
