//! The AppProfile of one run of the command: made at its beginning, deleted at its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::LabelSelector};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use tokio::time::timeout;
use trilobite_crds::{AppProfile, AppProfileSpec, CpuSpec};

use super::{
    PodName, ProfileError,
    progress::UNTIL_ACCEPTED,
    select::{Selected, select},
};
use crate::{args::ProfileArguments, cluster::ClusterError, failure::Failure};

/// Memory for rings, symboliser and result on each node; the default of the kind.
const MEMORY_BUDGET: i64 = 32 << 20;
/// Most characters of the pod's name in the AppProfile's.
const NAME: usize = 40;
/// How long it may take to make it, and to delete it before the user is told to do it.
const ANSWER: Duration = Duration::from_secs(10);

/// What was asked for.
pub(super) struct Asked {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) made: Timestamp,
    /// How long an API server may be away.
    pub(super) patience: SignedDuration,
    /// Where selected pods ran when it was made.
    pub(super) nodes: BTreeSet<String>,
    /// What selects them.
    labels: BTreeMap<String, String>,
}

#[cfg(test)]
impl Asked {
    /// One of this name.
    pub(super) fn for_test(namespace: &str, name: &str) -> Self {
        let (made, patience) = (Timestamp::UNIX_EPOCH, SignedDuration::ZERO);
        let (namespace, name) = (namespace.into(), name.into());
        Self { namespace, name, made, patience, nodes: BTreeSet::new(), labels: BTreeMap::new() }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What will be made; says which other pods it selects too.
pub(super) async fn plan(client: &Client, arguments: &ProfileArguments) -> Result<(Asked, AppProfile), Failure> {
    let PodName { namespace, name } = &arguments.pod;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let all = pods
        .list(&ListParams::default())
        .await
        .map_err(|error| ClusterError::new(format!("list the pods of {namespace}"), "pods", error))?
        .items;
    let pod = running(&all, &arguments.pod)?;
    let no_labels = || ProfileError::NoLabels { namespace: namespace.clone(), name: name.clone() };
    let selected = select(pod, &all).ok_or_else(no_labels)?;
    if !selected.others.is_empty() {
        eprintln!(
            "note: {} more with the same labels will be in the picture: {}; a label of its own would leave {name} alone",
            selected.others.len(),
            selected.others.join(", ")
        );
    }
    let (nodes, labels) = (nodes(&all, &selected.labels), selected.labels.clone());
    let made = Timestamp::now();
    let profile = app_profile(arguments, selected, made);
    let span = SignedDuration::from_secs(profile.spec.duration_seconds);
    let (namespace, name) = (namespace.clone(), profile.name_any());
    Ok((Asked { namespace, name, made, patience: span + UNTIL_ACCEPTED, nodes, labels }, profile))
}

/// Makes it. Where nobody says whether it was made, it is taken away again.
pub(super) async fn make(
    client: &Client,
    arguments: &ProfileArguments,
    asked: &Asked,
    profile: &AppProfile,
) -> Result<(), Failure> {
    let profiles: Api<AppProfile> = Api::namespaced(client.clone(), &asked.namespace);
    let Ok(made) = timeout(ANSWER, profiles.create(&PostParams::default(), profile)).await else {
        withdraw(client, asked).await;
        return Err(ProfileError::NotMade { name: asked.to_string() }.into());
    };
    made.map_err(|error| ClusterError::new(format!("make appprofile {asked}"), "appprofiles", error))?;
    eprintln!("appprofile {asked}: {:?} at {} samples a second", arguments.span, arguments.frequency);
    Ok(())
}

/// Where selected pods ran when it was made, and where they run now: some may have moved meanwhile, or be new. An API server
/// that does not answer is no reason to fetch nothing.
pub(super) async fn nodes_now(client: &Client, asked: &Asked) -> BTreeSet<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &asked.namespace);
    let mut all = asked.nodes.clone();
    match pods.list(&ListParams::default()).await {
        Ok(list) => all.extend(nodes(&list.items, &asked.labels)),
        Err(error) => eprintln!("warning: nodes that pods have moved to are not known: {error}"),
    }
    all
}

/// Nodes of the pods that have these labels.
fn nodes(pods: &[Pod], labels: &BTreeMap<String, String>) -> BTreeSet<String> {
    let selected = |pod: &&Pod| labels.iter().all(|(key, value)| pod.labels().get(key) == Some(value));
    pods.iter().filter(selected).filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect()
}

/// Deletes it. What cannot be deleted ends by itself, so that this is no failure.
pub(super) async fn withdraw(client: &Client, asked: &Asked) {
    let profiles: Api<AppProfile> = Api::namespaced(client.clone(), &asked.namespace);
    let failed = match timeout(ANSWER, profiles.delete(&asked.name, &DeleteParams::default())).await {
        Ok(Ok(_)) => None,
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the API server does not answer".into()),
    };
    if let Some(why) = failed {
        eprintln!(
            "warning: appprofile {asked} could not be deleted ({why}); it ends by itself, or: kubectl delete appprofile -n {} {}",
            asked.namespace, asked.name
        );
    }
}

fn running<'a>(pods: &'a [Pod], wanted: &PodName) -> Result<&'a Pod, ProfileError> {
    let pod_name = || format!("{}/{}", wanted.namespace, wanted.name);
    let Some(pod) = pods.iter().find(|pod| pod.name_any() == wanted.name) else {
        return Err(ProfileError::NoPod { pod: pod_name(), namespace: wanted.namespace.clone() });
    };
    match pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Running") => Ok(pod),
        phase => Err(ProfileError::NotRunning { pod: pod_name(), phase: phase.unwrap_or("Unknown").into() }),
    }
}

fn app_profile(arguments: &ProfileArguments, selected: Selected, made: Timestamp) -> AppProfile {
    let PodName { namespace, name } = &arguments.pod;
    let begin = name.get(..NAME).unwrap_or(name).trim_end_matches(['-', '.']);
    let mut profile = AppProfile::new(
        &format!("cli-{begin}-{:x}", made.as_millisecond()),
        AppProfileSpec {
            pod_selector: LabelSelector { match_labels: Some(selected.labels), match_expressions: None },
            cpu: Some(CpuSpec { frequency_hz: arguments.frequency }),
            duration_seconds: i64::try_from(arguments.span.as_secs()).unwrap_or(i64::MAX),
            memory_budget_bytes: MEMORY_BUDGET,
        },
    );
    profile.metadata.namespace = Some(namespace.clone());
    profile.labels_mut().insert("app.kubernetes.io/managed-by".into(), "trilobite-cli".into());
    // Not a label: names of pods may be longer than a label's value.
    profile.annotations_mut().insert("trilobite.dev/pod".into(), name.clone());
    profile
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodSpec, PodStatus};

    use super::*;

    fn arguments(pod: &str) -> ProfileArguments {
        ProfileArguments {
            pod: pod.parse().unwrap(),
            span: Duration::from_secs(30),
            output: "flame.svg".into(),
            folded: None,
            frequency: 99,
        }
    }

    #[test]
    fn the_appprofile_asks_for_what_was_typed_and_its_name_says_for_whom() {
        let selected = Selected { labels: [("app".into(), "till".into())].into(), others: Vec::new() };
        let made = Timestamp::from_millisecond(0x18f).unwrap();
        let profile = app_profile(&arguments("shop/till-1"), selected, made);
        assert_eq!((profile.name_any(), profile.namespace()), ("cli-till-1-18f".into(), Some("shop".into())));
        assert_eq!(profile.spec.duration_seconds, 30);
        assert_eq!(profile.spec.cpu, Some(CpuSpec { frequency_hz: 99 }));
        assert!(profile.owner_references().is_empty());
    }

    #[test]
    fn a_pod_is_found_where_it_runs_by_its_labels_whatever_it_is_called_now() {
        let pod = |name: &str, app: &str, node: &str| {
            let mut pod = Pod::default();
            (pod.metadata.name, pod.metadata.labels) = (Some(name.into()), Some([("app".into(), app.into())].into()));
            pod.spec = Some(PodSpec { node_name: Some(node.into()), ..PodSpec::default() });
            pod
        };
        let all = [pod("till-7f", "till", "birch"), pod("shelf-1", "shelf", "cedar")];
        assert_eq!(nodes(&all, &[("app".into(), "till".into())].into()), ["birch".to_owned()].into());
    }

    #[test]
    fn a_long_name_is_cut_where_a_name_may_end() {
        let pod = format!("shop/{}-{}", "t".repeat(39), "x".repeat(200));
        let selected = Selected { labels: Default::default(), others: Vec::new() };
        let name = app_profile(&arguments(&pod), selected, Timestamp::UNIX_EPOCH).name_any();
        assert_eq!(name, format!("cli-{}-0", "t".repeat(39)));
    }

    #[test]
    fn a_pod_that_is_not_there_or_does_not_run_is_told_apart() {
        let mut pending = Pod::default();
        pending.metadata.name = Some("till-1".into());
        pending.status = Some(PodStatus { phase: Some("Pending".into()), ..PodStatus::default() });
        let wanted = |name: &str| PodName { namespace: "shop".into(), name: name.into() };
        let text = |name: &str| running(std::slice::from_ref(&pending), &wanted(name)).unwrap_err().to_string();
        assert!(text("till-1").starts_with("pod shop/till-1 is Pending"), "{}", text("till-1"));
        assert!(text("till-2").starts_with("there is no pod shop/till-2"), "{}", text("till-2"));
    }
}
