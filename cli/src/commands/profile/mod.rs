//! `trilobite profile NAMESPACE/POD`: creates an AppProfile for that pod alone, shows its progress, fetches the nodes'
//! results, draws one flame graph, and deletes the AppProfile in any case.

mod fetch;
mod merged;
mod progress;
mod request;
mod select;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use kube::{Api, Client, ResourceExt};
use tokio::time::sleep;
use trilobite_crds::AppProfile;

use self::{
    fetch::NodeResult,
    merged::MergedProfile,
    progress::{Step, step},
    request::ProfileRequest,
};
use super::{agents::connect, failure::Failure, interrupt::Interrupts, print::print_line, profile_error::ProfileError};
use crate::{agent::Transport, args::ProfileArgs, cluster::ClusterError, fold::flame, pod_name::PodName, report};

/// Interval of reading the AppProfile.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn draw_profile(
    arguments: &ProfileArgs,
    transport: &Transport,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    for path in [Some(&arguments.output), arguments.folded.as_ref()].into_iter().flatten() {
        require_folder(path)?;
    }
    let PodName { namespace, name } = &arguments.pod;
    let results = match transport {
        // Without a cluster, the name is that of an AppProfile in the agent's files.
        Transport::Socket(_) => {
            fetch::fetch_all(&connect(transport, None).await?, &format!("{namespace}/{name}")).await?
        }
        Transport::Cluster { client, .. } => {
            let mut interrupts = Interrupts::listen();
            let (request, profile) = tokio::select! {
                planned = request::plan_profile(client, arguments) => planned?,
                () = interrupts.received() => return Err(ProfileError::Interrupted.into()),
            };
            // Not interruptible: a request that is on its way to the API server cannot be taken back.
            request::create(client, arguments, &request, &profile).await?;
            let outcome = tokio::select! {
                outcome = wait_and_fetch(client, transport, &request) => outcome,
                () = interrupts.received() => Err(ProfileError::Interrupted.into()),
            };
            request::delete(client, &request).await;
            outcome?
        }
    };
    finish(arguments, results, out)
}

async fn wait_and_fetch(
    client: &Client,
    transport: &Transport,
    request: &ProfileRequest,
) -> Result<Vec<NodeResult>, Failure> {
    let sampling = wait_for_end(client, request).await?;
    let mut agents = Vec::new();
    for node in request::current_nodes(client, request).await {
        match connect(transport, Some(&node)).await {
            Ok(found) => agents.extend(found),
            Err(error) => eprintln!("warning: {error}"),
        }
    }
    if agents.is_empty() {
        return Err(
            ProfileError::NoResult { detail: "no agent of its nodes could be reached (see above)".into() }.into()
        );
    }
    let results = fetch::fetch_all(&agents, &format!("{}/{}", request.namespace, request.name)).await?;
    if let Some(warning) = not_fetched(results.len(), sampling, request) {
        eprintln!("warning: {warning}");
    }
    Ok(results)
}

/// A warning if more nodes have sampled than results were fetched.
fn not_fetched(fetched: usize, sampling: usize, request: &ProfileRequest) -> Option<String> {
    let missing = sampling.checked_sub(fetched).filter(|missing| *missing > 0)?;
    Some(format!(
        "{missing} of the {sampling} nodes that sampled are missing from the flame graph: their results could not be fetched, or \
         their pods have gone; the agent's socket on such a node serves profile {request} for an hour"
    ))
}

/// Waits until sampling has ended; returns the number of nodes that sampled, as far as the status says. Survives an API
/// server that is away for a moment.
async fn wait_for_end(client: &Client, request: &ProfileRequest) -> Result<usize, Failure> {
    let profiles: Api<AppProfile> = Api::namespaced(client.clone(), &request.namespace);
    let mut shown = String::new();
    loop {
        let now = Timestamp::now();
        match profiles.get_opt(&request.name).await {
            Ok(None) => return Err(ProfileError::Gone { name: request.to_string() }.into()),
            Ok(Some(profile)) => match step(&profile, request.created, now) {
                Step::Ended => {
                    let results = profile.status.and_then(|status| status.results).unwrap_or_default();
                    return Ok(usize::try_from(results.nodes).unwrap_or_default());
                }
                Step::Failed { reason, message } => {
                    let describe =
                        format!("see 'kubectl describe appprofiles -n {} {}'", request.namespace, profile.name_any());
                    let next = report::next(&reason, &describe);
                    return Err(ProfileError::Refused { reason, message, next }.into());
                }
                Step::Waiting(text) | Step::Running(text) => print_change(&mut shown, text),
            },
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let doing = format!("read appprofile {request}");
                return Err(ClusterError::new(doing, "appprofiles", kube::Error::Api(status)).into());
            }
            Err(error) if now.duration_since(request.created) > request.api_timeout => {
                return Err(ClusterError::new(format!("read appprofile {request}"), "appprofiles", error).into());
            }
            Err(_) => print_change(&mut shown, "the API server does not answer; trying again".into()),
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// One line for each change, which reads well in a log too.
fn print_change(shown: &mut String, text: String) {
    if *shown != text {
        eprintln!("  {text}");
        *shown = text;
    }
}

fn finish(arguments: &ProfileArgs, results: Vec<NodeResult>, out: &mut dyn Write) -> Result<(), Failure> {
    let merged = MergedProfile::new(results)?;
    for problem in &merged.problems {
        eprintln!("warning: {problem}");
    }
    let title = format!("{}/{}", arguments.pod.namespace, arguments.pod.name);
    if merged.folded.samples() == 0 {
        return Err(ProfileError::Idle { pod: title, lost: merged.lost, undecided: merged.undecided }.into());
    }
    // The stacks first: they must not be lost if the flame graph cannot be drawn.
    if let Some(path) = &arguments.folded {
        let text: String = merged.folded.lines().map(|line| line + "\n").collect();
        write(path, text.as_bytes())?;
    }
    let svg = flame::draw(&merged.folded, &title, &merged.summary()).map_err(ProfileError::Draw)?;
    write(&arguments.output, &svg)?;
    eprintln!("{title}: {} from {}", merged.summary(), merged.nodes.join(", "));
    print_line(out, &arguments.output.display().to_string())?;
    arguments.folded.iter().try_for_each(|path| print_line(out, &path.display().to_string()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ProfileError> {
    fs::write(path, bytes).map_err(|source| ProfileError::Write { path: path.into(), source })
}

/// Checked before sampling rather than after it.
fn require_folder(path: &Path) -> Result<(), ProfileError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    if folder.is_dir() {
        return Ok(());
    }
    Err(ProfileError::Write {
        path: path.into(),
        source: io::Error::new(io::ErrorKind::NotFound, "its folder does not exist"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::fake::FakeAgent;

    fn arguments(folder: &Path) -> ProfileArgs {
        ProfileArgs {
            pod: "shop/till-1".parse().unwrap(),
            span: Duration::from_secs(1),
            output: folder.join("flame.svg"),
            folded: Some(folder.join("out.folded")),
            frequency: 49,
        }
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
        draw_profile(&arguments(&folder), &agent.transport(), &mut out).await.unwrap();
        let svg = fs::read_to_string(folder.join("flame.svg")).unwrap();
        let folded = fs::read_to_string(folder.join("out.folded")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert!(svg.contains("42 samples, 50.0 % of the stacks truncated"), "no subtitle");
        assert_eq!(folded, "main;dig 30\nmain;rest 12\n");
        assert!(String::from_utf8(out).unwrap().ends_with("flame.svg\n".replace("flame.svg", "out.folded").as_str()));
    }

    #[tokio::test]
    async fn stacks_are_written_though_the_flame_graph_cannot_be() {
        let agent = FakeAgent::with_profile("main;dig 30\n", 30);
        let folder = folder("no-picture");
        fs::create_dir(folder.join("flame.svg")).unwrap();
        let failed = draw_profile(&arguments(&folder), &agent.transport(), &mut Vec::new()).await.is_err();
        let folded = fs::read_to_string(folder.join("out.folded"));
        fs::remove_dir_all(&folder).unwrap();
        assert!(failed);
        assert_eq!(folded.unwrap(), "main;dig 30\n");
    }

    #[test]
    fn nodes_without_a_fetched_result_are_reported() {
        let request = ProfileRequest::for_test("shop", "cli-till");
        assert_eq!(not_fetched(2, 2, &request), None);
        assert_eq!(not_fetched(2, 0, &request), None);
        let warning = not_fetched(1, 3, &request).unwrap();
        assert!(warning.starts_with("2 of the 3 nodes") && warning.contains("shop/cli-till"), "{warning}");
    }

    #[tokio::test]
    async fn idle_pod_has_no_flame_graph() {
        let agent = FakeAgent::with_profile("", 0);
        let folder = folder("idle");
        let failure = draw_profile(&arguments(&folder), &agent.transport(), &mut Vec::new()).await.unwrap_err();
        let left = folder.join("flame.svg").exists();
        fs::remove_dir_all(&folder).unwrap();
        assert!(
            failure.to_string().starts_with("no sample of shop/till-1 was taken: it used no CPU time, 0 were lost"),
            "{failure}"
        );
        assert!(!left);
    }

    #[tokio::test]
    async fn missing_folder_is_reported_before_sampling() {
        let agent = FakeAgent::with_profile("main 1\n", 1);
        let arguments = arguments(Path::new("/nowhere-to-be-found"));
        let failure = draw_profile(&arguments, &agent.transport(), &mut Vec::new()).await.unwrap_err();
        assert!(failure.to_string().contains("/nowhere-to-be-found/flame.svg"), "{failure}");
    }
}
