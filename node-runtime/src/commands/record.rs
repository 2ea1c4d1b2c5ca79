//! `trilobite-node record`: what sockets carry for an AppProfile, kept in a file from which rows can be made again. An agent for
//! this alone, with a socket and a state directory of its own.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::mpsc;
use trilobite_crds::node::{AppProfileSession, ApplicationSettings, Desired, RequestsSession, Session, SessionContent};
use trilobite_worker_wire::RecordingSettings;

use crate::{
    agent::Agent,
    args::{CommonArguments, RecordArguments, SocketArguments},
    desired::{Update, files},
    layers::application::requests::recording::RequestRecording,
    plan::UnitState,
};

/// Returns when the time is over, or after SIGINT or SIGTERM; the recording has its end then.
pub(super) async fn record_requests(arguments: &RecordArguments) -> anyhow::Result<()> {
    let resources = files::read(&arguments.files)?;
    let folder = PrivateFolder::create(&arguments.output)?;
    let mut agent = Agent::new(&common_arguments(arguments, &folder), false).await?;
    agent.restore_processes();
    // Planned after the agent was assembled: on a slow machine that takes longer than a short session lasts.
    let now = Timestamp::now();
    let (desired, refusals) = files::plan(&resources, now);
    if let Some(refusal) = refusals.first() {
        bail!("{}: {}: {}", refusal.source, refusal.field, refusal.message);
    }
    let desired = only_requests(desired, arguments, now)?;
    let profile = desired.sessions.first().map(|session| session.source.to_string()).unwrap_or_default();
    let settings = RecordingSettings {
        profile: profile.split_once('/').map(|(_, name)| name.to_owned()).unwrap_or_default(),
        node: agent.context.node_name.clone(),
        max_bytes: arguments.max_size,
    };
    let path = arguments.output.display();
    let (recording, writer) =
        RequestRecording::create(&arguments.output, settings).with_context(|| path.to_string())?;
    agent.request_rows.record(writer);
    agent.apply(Update { desired: desired.into(), generation: 1, uid: None }).await;
    for unit in agent.reconciler.snapshot(Timestamp::now()).units.values() {
        match &unit.state {
            UnitState::Refused(problem) => {
                fs::remove_file(&arguments.output)?;
                bail!("{}: {}", unit.source, problem.message());
            }
            UnitState::Active { notes } => notes.iter().for_each(|note| tracing::warn!("{}", note.message())),
        }
    }
    tracing::info!(%profile, file = %path, "recording");
    let recording = Arc::new(recording);
    let ending = Arc::clone(&recording);
    tokio::spawn(async move {
        ending.wait().await;
        // The agent unloads everything, and ends.
        let _ = kill_process(getpid(), Signal::TERM);
    });
    let (_sender, updates) = mpsc::channel(1);
    agent.run(updates).await?;
    match recording.wait().await {
        Some(problem) => bail!("{path} is incomplete: {problem}"),
        None => tracing::info!(bytes = recording.bytes(), "recorded"),
    }
    Ok(())
}

/// The desired state with the AppProfile's requests alone.
fn only_requests(desired: Desired, arguments: &RecordArguments, now: Timestamp) -> anyhow::Result<Desired> {
    if desired.suspended {
        bail!("the stack is suspended: nothing may be loaded");
    }
    let with_requests = desired.sessions.into_iter().filter_map(|session| {
        let profile = session.content.app_profile().filter(|profile| profile.requests.is_some())?;
        Some((session, profile))
    });
    let mut with_requests: Vec<(Session, AppProfileSession)> = with_requests.collect();
    let (Some((session, profile)), true) = (with_requests.pop(), with_requests.is_empty()) else {
        bail!("the files have to have one AppProfile with requests");
    };
    let expires_at = match arguments.duration {
        Some(duration) => now.checked_add(duration).context("--for")?,
        None => session.expires_at,
    };
    // The rows are not read here.
    let requests = profile.requests.map(|requests| RequestsSession { retain_after_end_minutes: 0, ..requests });
    let content = SessionContent::AppProfile(AppProfileSession { cpu: None, requests, ..profile });
    Ok(Desired {
        sessions: vec![Session { expires_at, content, ..session }],
        application: ApplicationSettings { standing: None, ..desired.application },
        ..Desired::default()
    })
}

fn common_arguments(arguments: &RecordArguments, folder: &PrivateFolder) -> CommonArguments {
    CommonArguments {
        host: arguments.host.clone(),
        socket: SocketArguments { socket: folder.0.join("agent.sock") },
        node_name: arguments.node_name.clone(),
        state_dir: folder.0.join("state"),
        metrics_address: None,
        worker: arguments.worker.clone(),
    }
}

/// A folder of this process beside the recording, which goes with it: other places of an agent's container cannot be written.
struct PrivateFolder(PathBuf);

impl PrivateFolder {
    fn create(recording: &Path) -> anyhow::Result<Self> {
        let path = recording.with_file_name(format!(".record-{}", process::id()));
        DirBuilder::new().mode(0o700).create(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::debug!(%error, folder = %self.0.display(), "the recorder's folder was not removed");
        }
    }
}
