//! `trilobite profile NAMESPACE/POD`: creates an AppProfile for that pod alone, shows its progress, fetches the nodes'
//! results, draws one flame graph, and deletes the AppProfile in any case. With --name it fetches those of another.

mod by_read_api;
mod existing;
mod fetch;
mod live;
mod merged;
mod output;
mod progress;
mod request;
mod select;
mod wait;

use std::io::Write;

use trilobite_flame_graph::ProfileSummary;

use self::{fetch::SearchedNodes, merged::MergedProfile, output::ProfileOutput};
use super::{agents::connect, failure::Failure, interrupt::Interrupts, profile_error::ProfileError};
use crate::{
    agent::Transport,
    args::{ProfileArgs, ProfileTarget},
    output::stderr::stderr_line,
    pod_name::PodName,
    read_api::ReadApi,
};

pub(super) async fn draw_profile(
    arguments: &ProfileArgs,
    transport: &Transport,
    api: Option<&ReadApi>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let output = ProfileOutput::of_arguments(arguments);
    output.require_folders()?;
    let target = arguments.target(transport.default_namespace()).map_err(Failure::Usage)?;
    // Unknown for a profile that this run does not create.
    let mut asked_ms = None;
    let (subject, merged) = match (transport, target) {
        // Without a cluster, the name is that of an AppProfile in the agent's files.
        (Transport::Socket(_), ProfileTarget::Pod(name) | ProfileTarget::AppProfile(name)) => {
            let agents = connect(transport, None).await?;
            let results = fetch::fetch_all(&agents, &name.to_string(), SearchedNodes::Known).await?;
            (name, MergedProfile::new(results)?)
        }
        (Transport::Cluster { client, namespace }, ProfileTarget::AppProfile(name)) => {
            let merged = match api {
                Some(api) => existing::fetch_by_read_api(client, api, namespace, &name).await?,
                None => MergedProfile::new(existing::fetch_existing(client, transport, namespace, &name).await?)?,
            };
            (name, merged)
        }
        (Transport::Cluster { client, namespace }, ProfileTarget::Pod(pod)) => {
            let mut interrupts = Interrupts::listen();
            let (request, profile) = tokio::select! {
                planned = request::plan_profile(client, arguments, &pod, namespace, api.is_some()) => planned?,
                () = interrupts.received() => return Err(ProfileError::Interrupted.into()),
            };
            asked_ms = u64::try_from(arguments.span.as_millis()).ok();
            // Not interruptible: a request that is on its way to the API server cannot be taken back.
            request::create(client, arguments, &request, &profile).await?;
            let fetched = async {
                match api {
                    Some(api) => by_read_api::wait_and_fetch(client, api, &request).await,
                    None => Ok(MergedProfile::new(wait::wait_and_fetch(client, transport, &request).await?)?),
                }
            };
            let outcome = tokio::select! {
                outcome = fetched => outcome,
                () = interrupts.received() => Err(ProfileError::Interrupted.into()),
            };
            request::delete(client, &request).await;
            (pod, outcome?)
        }
    };
    write_merged(&output, &subject, &merged, asked_ms, out)
}

/// Writes what was asked for; `subject` is the pod, or the AppProfile that was fetched.
fn write_merged(
    output: &ProfileOutput<'_>,
    subject: &PodName,
    merged: &MergedProfile,
    asked_ms: Option<u64>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    for problem in &merged.problems {
        stderr_line!("warning: {problem}");
    }
    let target = subject.to_string();
    if merged.folded.samples() == 0 {
        let ProfileSummary { lost, undecided, .. } = merged.summary;
        return Err(ProfileError::Idle { pod: target, why: merged.why_empty(asked_ms), lost, undecided }.into());
    }
    output.write(merged, &target, out)?;
    stderr_line!("{}; {}", merged.title(&target), merged.summary);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use clap::Parser;

    use super::*;
    use crate::{
        agent::fake::FakeAgent,
        args::{Arguments, Command},
    };

    fn arguments(folder: &Path) -> ProfileArgs {
        let line = ["trilobite", "profile", "shop/till-1", "--for", "1s"];
        let Command::Profile(profile) = Arguments::try_parse_from(line).unwrap().command else { panic!("another") };
        ProfileArgs { output: Some(folder.join("flame.svg")), folded: Some(folder.join("out.folded")), ..profile }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("trilobite-cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[tokio::test]
    async fn profile_of_a_local_agent_is_fetched_in_chunks_and_drawn() {
        let agent = FakeAgent::with_profile("main;dig 30\nmain;rest 12\n", 42);
        let folder = folder("drawn");
        let mut out = Vec::new();
        draw_profile(&arguments(&folder), &agent.transport(), None, &mut out).await.unwrap();
        let svg = fs::read_to_string(folder.join("flame.svg")).unwrap();
        let folded = fs::read_to_string(folder.join("out.folded")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert!(
            svg.contains("42 samples at 49 Hz in 10.0 s") && svg.contains("50.0 % of the stacks truncated"),
            "no subtitle"
        );
        assert_eq!(folded, "main;dig 30\nmain;rest 12\n");
        assert!(String::from_utf8(out).unwrap().ends_with("flame.svg\n".replace("flame.svg", "out.folded").as_str()));
    }

    #[tokio::test]
    async fn stacks_are_written_though_the_flame_graph_cannot_be() {
        let agent = FakeAgent::with_profile("main;dig 30\n", 30);
        let folder = folder("no-picture");
        fs::create_dir(folder.join("flame.svg")).unwrap();
        let failed = draw_profile(&arguments(&folder), &agent.transport(), None, &mut Vec::new()).await.is_err();
        let folded = fs::read_to_string(folder.join("out.folded"));
        fs::remove_dir_all(&folder).unwrap();
        assert!(failed);
        assert_eq!(folded.unwrap(), "main;dig 30\n");
    }

    #[tokio::test]
    async fn idle_pod_has_no_flame_graph() {
        let agent = FakeAgent::with_profile("", 0);
        let folder = folder("idle");
        let failure = draw_profile(&arguments(&folder), &agent.transport(), None, &mut Vec::new()).await.unwrap_err();
        let left = folder.join("flame.svg").exists();
        fs::remove_dir_all(&folder).unwrap();
        assert!(
            failure
                .to_string()
                .starts_with("no sample of shop/till-1 was taken: it used no CPU time in 10.0 s; 0 lost"),
            "{failure}"
        );
        assert!(!left);
    }

    #[tokio::test]
    async fn missing_folder_is_reported_before_sampling() {
        let agent = FakeAgent::with_profile("main 1\n", 1);
        let arguments = arguments(Path::new("/nowhere-to-be-found"));
        let failure = draw_profile(&arguments, &agent.transport(), None, &mut Vec::new()).await.unwrap_err();
        assert!(failure.to_string().contains("/nowhere-to-be-found/flame.svg"), "{failure}");
    }
}
