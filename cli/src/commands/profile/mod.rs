//! `trilobite profile NAMESPACE/POD`: makes an AppProfile for that pod alone, shows how far it is, fetches what the nodes
//! made of it, draws one flame graph, and deletes the AppProfile whatever happened.

mod ask;
mod error;
mod fetch;
mod progress;
mod select;
mod sum;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use jiff::Timestamp;
use kube::{Api, Client, ResourceExt};
use tokio::time::sleep;
use trilobite_crds::AppProfile;

pub(crate) use error::ProfileError;

use self::{
    ask::Asked,
    fetch::Made,
    progress::{Step, step},
    sum::Sum,
};
use super::{agents::answering, interrupt::Interrupts, print};
use crate::{agent::Reach, args::ProfileArguments, cluster::ClusterError, failure::Failure, fold::flame, report};

/// How often the AppProfile is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// `NAMESPACE/POD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl FromStr for PodName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
        };
        match text.split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => {
                Ok(Self { namespace: namespace.into(), name: name.into() })
            }
            _ => Err("write NAMESPACE/POD, as in payments/api-0".into()),
        }
    }
}

pub(super) async fn run(arguments: &ProfileArguments, reach: &Reach, out: &mut dyn Write) -> Result<(), Failure> {
    for path in [Some(&arguments.output), arguments.folded.as_ref()].into_iter().flatten() {
        has_folder(path)?;
    }
    let PodName { namespace, name } = &arguments.pod;
    let made = match reach {
        // Without a cluster the name is that of an AppProfile in the agent's files.
        Reach::Socket(_) => fetch::from_all(&answering(reach, None).await?, &format!("{namespace}/{name}")).await?,
        Reach::Cluster { client, .. } => {
            let mut interrupts = Interrupts::listen();
            let (asked, profile) = tokio::select! {
                planned = ask::plan(client, arguments) => planned?,
                () = interrupts.come() => return Err(ProfileError::Interrupted.into()),
            };
            // Not interrupted: what is on its way to the API server cannot be taken back before it is there.
            ask::make(client, arguments, &asked, &profile).await?;
            let outcome = tokio::select! {
                outcome = wait_and_fetch(client, reach, &asked) => outcome,
                () = interrupts.come() => Err(ProfileError::Interrupted.into()),
            };
            ask::withdraw(client, &asked).await;
            outcome?
        }
    };
    finish(arguments, made, out)
}

async fn wait_and_fetch(client: &Client, reach: &Reach, asked: &Asked) -> Result<Vec<Made>, Failure> {
    let sampling = wait(client, asked).await?;
    let mut agents = Vec::new();
    for node in ask::nodes_now(client, asked).await {
        match answering(reach, Some(&node)).await {
            Ok(found) => agents.extend(found),
            Err(error) => eprintln!("warning: {error}"),
        }
    }
    if agents.is_empty() {
        return Err(
            ProfileError::NoResult { detail: "no agent of its nodes could be reached (see above)".into() }.into()
        );
    }
    let made = fetch::from_all(&agents, &format!("{}/{}", asked.namespace, asked.name)).await?;
    if let Some(warning) = not_fetched(made.len(), sampling, asked) {
        eprintln!("warning: {warning}");
    }
    Ok(made)
}

/// What to say where more nodes have sampled than were found by their pods.
fn not_fetched(fetched: usize, sampling: usize, asked: &Asked) -> Option<String> {
    let missing = sampling.checked_sub(fetched).filter(|missing| *missing > 0)?;
    Some(format!(
        "{missing} of the {sampling} nodes that sampled are not in the picture: their results could not be had, or \
         their pods came and went meanwhile; on such a node its agent's socket has the profile {asked} for an hour"
    ))
}

/// Until no more samples are taken; on how many nodes they were, as far as that was told. An API server that is away for a
/// moment does not end it.
async fn wait(client: &Client, asked: &Asked) -> Result<usize, Failure> {
    let profiles: Api<AppProfile> = Api::namespaced(client.clone(), &asked.namespace);
    let mut told = String::new();
    loop {
        let now = Timestamp::now();
        match profiles.get_opt(&asked.name).await {
            Ok(None) => return Err(ProfileError::Gone { name: asked.to_string() }.into()),
            Ok(Some(profile)) => match step(&profile, asked.made, now) {
                Step::Ended => {
                    let results = profile.status.and_then(|status| status.results).unwrap_or_default();
                    return Ok(usize::try_from(results.nodes).unwrap_or_default());
                }
                Step::Failed { reason, message } => {
                    let describe =
                        format!("see 'kubectl describe appprofiles -n {} {}'", asked.namespace, profile.name_any());
                    let next = report::next(&reason, &describe);
                    return Err(ProfileError::Refused { reason, message, next }.into());
                }
                Step::Waiting(text) | Step::Running(text) => tell(&mut told, text),
            },
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let doing = format!("look at appprofile {asked}");
                return Err(ClusterError::new(doing, "appprofiles", kube::Error::Api(status)).into());
            }
            Err(error) if now.duration_since(asked.made) > asked.patience => {
                return Err(ClusterError::new(format!("look at appprofile {asked}"), "appprofiles", error).into());
            }
            Err(_) => tell(&mut told, "the API server does not answer; trying again".into()),
        }
        sleep(LOOK).await;
    }
}

/// A line for each change, so that a log of it can be read too.
fn tell(told: &mut String, text: String) {
    if *told != text {
        eprintln!("  {text}");
        *told = text;
    }
}

fn finish(arguments: &ProfileArguments, made: Vec<Made>, out: &mut dyn Write) -> Result<(), Failure> {
    let sum = Sum::of(made)?;
    for problem in &sum.problems {
        eprintln!("warning: {problem}");
    }
    let title = format!("{}/{}", arguments.pod.namespace, arguments.pod.name);
    if sum.folded.samples() == 0 {
        return Err(ProfileError::Idle { pod: title, lost: sum.lost, undecided: sum.undecided }.into());
    }
    // First: it needs no picture, and half a minute of sampling is not done again for want of one.
    if let Some(path) = &arguments.folded {
        let text: String = sum.folded.lines().map(|line| line + "\n").collect();
        write(path, text.as_bytes())?;
    }
    let svg = flame::draw(&sum.folded, &title, &sum.words()).map_err(ProfileError::Draw)?;
    write(&arguments.output, &svg)?;
    eprintln!("{title}: {} from {}", sum.words(), sum.nodes.join(", "));
    print(out, &arguments.output.display().to_string())?;
    arguments.folded.iter().try_for_each(|path| print(out, &path.display().to_string()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ProfileError> {
    fs::write(path, bytes).map_err(|source| ProfileError::Write { path: path.into(), source })
}

/// Told before half a minute of sampling rather than after it.
fn has_folder(path: &Path) -> Result<(), ProfileError> {
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

    fn arguments(folder: &Path) -> ProfileArguments {
        ProfileArguments {
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
    async fn a_profile_of_a_local_agent_is_fetched_in_chunks_and_drawn() {
        let agent = FakeAgent::with_profile("main;dig 30\nmain;rest 12\n", 42);
        let folder = folder("drawn");
        let mut out = Vec::new();
        run(&arguments(&folder), &agent.reach(), &mut out).await.unwrap();
        let svg = fs::read_to_string(folder.join("flame.svg")).unwrap();
        let folded = fs::read_to_string(folder.join("out.folded")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert!(svg.contains("42 samples, 50.0 % of the stacks truncated"), "no subtitle");
        assert_eq!(folded, "main;dig 30\nmain;rest 12\n");
        assert!(String::from_utf8(out).unwrap().ends_with("flame.svg\n".replace("flame.svg", "out.folded").as_str()));
    }

    #[tokio::test]
    async fn the_stacks_are_there_though_the_picture_cannot_be_written() {
        let agent = FakeAgent::with_profile("main;dig 30\n", 30);
        let folder = folder("no-picture");
        fs::create_dir(folder.join("flame.svg")).unwrap();
        let failed = run(&arguments(&folder), &agent.reach(), &mut Vec::new()).await.is_err();
        let folded = fs::read_to_string(folder.join("out.folded"));
        fs::remove_dir_all(&folder).unwrap();
        assert!(failed);
        assert_eq!(folded.unwrap(), "main;dig 30\n");
    }

    #[test]
    fn nodes_that_sampled_and_are_not_in_the_picture_are_told() {
        let asked = Asked::for_test("shop", "cli-till");
        assert_eq!(not_fetched(2, 2, &asked), None);
        assert_eq!(not_fetched(2, 0, &asked), None);
        let warning = not_fetched(1, 3, &asked).unwrap();
        assert!(warning.starts_with("2 of the 3 nodes") && warning.contains("shop/cli-till"), "{warning}");
    }

    #[tokio::test]
    async fn a_pod_that_used_no_cpu_is_no_picture() {
        let agent = FakeAgent::with_profile("", 0);
        let folder = folder("idle");
        let failure = run(&arguments(&folder), &agent.reach(), &mut Vec::new()).await.unwrap_err();
        let left = folder.join("flame.svg").exists();
        fs::remove_dir_all(&folder).unwrap();
        assert!(
            failure.to_string().starts_with("no sample of shop/till-1 was taken: it used no CPU time, 0 were lost"),
            "{failure}"
        );
        assert!(!left);
    }

    #[tokio::test]
    async fn a_folder_that_does_not_exist_is_told_before_anything_is_asked_for() {
        let agent = FakeAgent::with_profile("main 1\n", 1);
        let arguments = arguments(Path::new("/nowhere-to-be-found"));
        let failure = run(&arguments, &agent.reach(), &mut Vec::new()).await.unwrap_err();
        assert!(failure.to_string().contains("/nowhere-to-be-found/flame.svg"), "{failure}");
    }
}
