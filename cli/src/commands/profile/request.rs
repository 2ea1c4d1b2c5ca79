//! The AppProfile of one run of the command: created at its beginning, deleted at its end.

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
    progress::ACCEPT_TIMEOUT,
    select::{Selected, select},
};
use crate::{
    args::ProfileArgs,
    cluster::ClusterError,
    commands::{
        failure::Failure,
        profile_error::ProfileError,
        rights::{Right, require_rights},
    },
    output::stderr::stderr_line,
    pod_name::PodName,
};

/// For rings, symbolizer and result on each node; the default of the CRD.
const MEMORY_BUDGET: i64 = 32 << 20;
/// Limit of characters of the pod's name in the AppProfile's name.
const POD_NAME_LIMIT: usize = 40;
/// Limit for creating and for deleting the AppProfile.
const API_TIMEOUT: Duration = Duration::from_secs(10);

/// The AppProfile that this run creates.
pub(super) struct ProfileRequest {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) created: Timestamp,
    /// How long after `created` an API server may be away.
    pub(super) api_timeout: SignedDuration,
    /// Nodes of the selected pods at that time.
    pub(super) nodes: BTreeSet<String>,
    /// Where Trilobite is installed, for the next steps of errors.
    pub(super) trilobite_namespace: String,
    /// Selects the pods.
    labels: BTreeMap<String, String>,
}

impl ProfileRequest {
    /// Of an AppProfile that this run did not create.
    pub(super) fn existing(name: &PodName, profile: &AppProfile, trilobite_namespace: &str) -> Self {
        let PodName { namespace, name } = name.clone();
        let span = SignedDuration::from_secs(profile.spec.duration_seconds);
        Self {
            namespace,
            name,
            created: profile.creation_timestamp().map_or_else(Timestamp::now, |time| time.0),
            api_timeout: span + ACCEPT_TIMEOUT,
            nodes: BTreeSet::new(),
            trilobite_namespace: trilobite_namespace.into(),
            labels: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
impl ProfileRequest {
    pub(super) fn for_test(namespace: &str, name: &str) -> Self {
        let (created, api_timeout) = (Timestamp::UNIX_EPOCH, SignedDuration::ZERO);
        let (namespace, name) = (namespace.into(), name.into());
        let trilobite_namespace = "fossils".into();
        let (nodes, labels) = (BTreeSet::new(), BTreeMap::new());
        Self { namespace, name, created, api_timeout, nodes, trilobite_namespace, labels }
    }
}

impl fmt::Display for ProfileRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Plans the AppProfile, and notes which other pods it selects too. Fails without the rights to create it and to fetch
/// its result.
pub(super) async fn plan_profile(
    client: &Client,
    arguments: &ProfileArgs,
    pod: &PodName,
    trilobite_namespace: &str,
    by_read_api: bool,
) -> Result<(ProfileRequest, AppProfile), Failure> {
    let PodName { namespace, name } = pod;
    let mut rights = vec![
        Right::pods("list", namespace),
        Right::appprofiles("create", namespace),
        Right::appprofiles("get", namespace),
    ];
    rights.extend(Right::to_fetch_results(namespace, trilobite_namespace, by_read_api));
    require_rights(client, &format!("profiling pod {pod}"), &rights).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let all = pods
        .list(&ListParams::default())
        .await
        .map_err(|error| ClusterError::new(format!("list the pods of {namespace}"), "pods", error))?
        .items;
    let running = find_running(&all, pod)?;
    let no_labels = || ProfileError::NoLabels { namespace: namespace.clone(), name: name.clone() };
    let selected = select(running, &all).ok_or_else(no_labels)?;
    if !selected.others.is_empty() {
        stderr_line!(
            "note: {} more pods have the same labels and will be in the flame graph: {}; a label of its own would select {name} alone",
            selected.others.len(),
            selected.others.join(", ")
        );
    }
    let (nodes, labels) = (nodes_of(&all, &selected.labels), selected.labels.clone());
    let created = Timestamp::now();
    let profile = app_profile(arguments, pod, selected, created);
    let span = SignedDuration::from_secs(profile.spec.duration_seconds);
    let (namespace, name) = (namespace.clone(), profile.name_any());
    let (api_timeout, trilobite_namespace) = (span + ACCEPT_TIMEOUT, trilobite_namespace.to_owned());
    Ok((ProfileRequest { namespace, name, created, api_timeout, nodes, trilobite_namespace, labels }, profile))
}

/// Creates the AppProfile. Without an answer of the API server it is deleted again.
pub(super) async fn create(
    client: &Client,
    arguments: &ProfileArgs,
    request: &ProfileRequest,
    profile: &AppProfile,
) -> Result<(), Failure> {
    let profiles: Api<AppProfile> = Api::namespaced(client.clone(), &request.namespace);
    let Ok(created) = timeout(API_TIMEOUT, profiles.create(&PostParams::default(), profile)).await else {
        delete(client, request).await;
        return Err(ProfileError::NotCreated { name: request.to_string() }.into());
    };
    created.map_err(|error| ClusterError::new(format!("create appprofile {request}"), "appprofiles", error))?;
    stderr_line!("appprofile {request}: {:?} at {} samples a second", arguments.span, arguments.frequency);
    Ok(())
}

/// Nodes of the selected pods when the AppProfile was created, and now: pods may have moved or be new. Without an
/// answer of the API server, the former alone.
pub(super) async fn current_nodes(client: &Client, request: &ProfileRequest) -> BTreeSet<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &request.namespace);
    let mut all = request.nodes.clone();
    match pods.list(&ListParams::default()).await {
        Ok(list) => all.extend(nodes_of(&list.items, &request.labels)),
        Err(error) => stderr_line!("warning: cannot find out to which nodes pods have moved: {error}"),
    }
    all
}

/// Nodes of the pods that have these labels.
fn nodes_of(pods: &[Pod], labels: &BTreeMap<String, String>) -> BTreeSet<String> {
    let selected = |pod: &&Pod| labels.iter().all(|(key, value)| pod.labels().get(key) == Some(value));
    pods.iter().filter(selected).filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect()
}

/// Deletes the AppProfile. A failure is a warning, because the AppProfile ends by itself.
pub(super) async fn delete(client: &Client, request: &ProfileRequest) {
    let profiles: Api<AppProfile> = Api::namespaced(client.clone(), &request.namespace);
    let failed = match timeout(API_TIMEOUT, profiles.delete(&request.name, &DeleteParams::default())).await {
        Ok(Ok(_)) => None,
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the API server does not answer".into()),
    };
    if let Some(why) = failed {
        stderr_line!(
            "warning: appprofile {request} could not be deleted ({why}); it ends by itself, or: kubectl delete appprofile -n {} {}",
            request.namespace,
            request.name
        );
    }
}

fn find_running<'a>(pods: &'a [Pod], wanted: &PodName) -> Result<&'a Pod, ProfileError> {
    let pod_name = || format!("{}/{}", wanted.namespace, wanted.name);
    let Some(pod) = pods.iter().find(|pod| pod.name_any() == wanted.name) else {
        return Err(ProfileError::NoPod { pod: pod_name(), namespace: wanted.namespace.clone() });
    };
    match pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Running") => Ok(pod),
        phase => Err(ProfileError::NotRunning { pod: pod_name(), phase: phase.unwrap_or("Unknown").into() }),
    }
}

fn app_profile(arguments: &ProfileArgs, pod: &PodName, selected: Selected, created: Timestamp) -> AppProfile {
    let PodName { namespace, name } = pod;
    let begin = name.get(..POD_NAME_LIMIT).unwrap_or(name).trim_end_matches(['-', '.']);
    let mut profile = AppProfile::new(
        &format!("cli-{begin}-{:x}", created.as_millisecond()),
        AppProfileSpec {
            pod_selector: LabelSelector { match_labels: Some(selected.labels), match_expressions: None },
            cpu: Some(CpuSpec { frequency_hz: arguments.frequency }),
            duration_seconds: i64::try_from(arguments.span.as_secs()).unwrap_or(i64::MAX),
            memory_budget_bytes: MEMORY_BUDGET,
            ..AppProfileSpec::default()
        },
    );
    profile.metadata.namespace = Some(namespace.clone());
    profile.labels_mut().insert("app.kubernetes.io/managed-by".into(), "trilobite-cli".into());
    // Not a label, because names of pods may be longer than a label's value.
    profile.annotations_mut().insert("trilobite.dev/pod".into(), name.clone());
    profile
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use k8s_openapi::api::core::v1::{PodSpec, PodStatus};

    use super::*;
    use crate::args::{Arguments, Command};

    fn made(pod: &str, selected: Selected, created: Timestamp) -> AppProfile {
        let line = ["trilobite", "profile", pod, "--frequency", "99"];
        let Command::Profile(arguments) = Arguments::try_parse_from(line).unwrap().command else { panic!("another") };
        app_profile(&arguments, &pod.parse().unwrap(), selected, created)
    }

    #[test]
    fn appprofile_has_the_arguments_and_the_pods_name() {
        let selected = Selected { labels: [("app".into(), "till".into())].into(), others: Vec::new() };
        let created = Timestamp::from_millisecond(0x18f).unwrap();
        let profile = made("shop/till-1", selected, created);
        assert_eq!((profile.name_any(), profile.namespace()), ("cli-till-1-18f".into(), Some("shop".into())));
        assert_eq!(profile.spec.duration_seconds, 30);
        assert_eq!(profile.spec.cpu, Some(CpuSpec { frequency_hz: 99 }));
        assert!(profile.owner_references().is_empty());
    }

    #[test]
    fn nodes_are_found_by_labels_of_pods() {
        let pod = |name: &str, app: &str, node: &str| {
            let mut pod = Pod::default();
            (pod.metadata.name, pod.metadata.labels) = (Some(name.into()), Some([("app".into(), app.into())].into()));
            pod.spec = Some(PodSpec { node_name: Some(node.into()), ..PodSpec::default() });
            pod
        };
        let all = [pod("till-7f", "till", "birch"), pod("shelf-1", "shelf", "cedar")];
        assert_eq!(nodes_of(&all, &[("app".into(), "till".into())].into()), ["birch".to_owned()].into());
    }

    #[test]
    fn long_name_is_cut_where_a_name_may_end() {
        let pod = format!("shop/{}-{}", "t".repeat(39), "x".repeat(200));
        let selected = Selected { labels: Default::default(), others: Vec::new() };
        let name = made(&pod, selected, Timestamp::UNIX_EPOCH).name_any();
        assert_eq!(name, format!("cli-{}-0", "t".repeat(39)));
    }

    #[test]
    fn missing_and_pending_pods_have_different_errors() {
        let mut pending = Pod::default();
        pending.metadata.name = Some("till-1".into());
        pending.status = Some(PodStatus { phase: Some("Pending".into()), ..PodStatus::default() });
        let wanted = |name: &str| PodName { namespace: "shop".into(), name: name.into() };
        let text = |name: &str| find_running(std::slice::from_ref(&pending), &wanted(name)).unwrap_err().to_string();
        assert!(text("till-1").starts_with("pod shop/till-1 is Pending"), "{}", text("till-1"));
        assert!(text("till-2").starts_with("there is no pod shop/till-2"), "{}", text("till-2"));
    }
}
