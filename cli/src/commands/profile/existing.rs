//! `trilobite profile --name`: the result of an AppProfile that exists, however it was made; waits if it still runs.

use std::collections::BTreeSet;

use kube::{Api, Client, ResourceExt, api::ListParams};
use trilobite_crds::{AppProfile, node::NodeRuntime};

use super::{
    by_read_api,
    fetch::{NodeResult, SearchedNodes, fetch_all},
    live::LiveCounts,
    merged::MergedProfile,
    request::ProfileRequest,
    wait::{connect_nodes, not_fetched, wait_for_end},
};
use crate::{
    agent::Transport,
    args::own_command,
    cluster::ClusterError,
    commands::{
        agents::connect,
        failure::Failure,
        profile_error::ProfileError,
        rights::{Right, require_rights},
    },
    output::stderr::stderr_line,
    pod_name::PodName,
    read_api::ReadApi,
};

pub(super) async fn fetch_existing(
    client: &Client,
    transport: &Transport,
    trilobite_namespace: &str,
    name: &PodName,
) -> Result<Vec<NodeResult>, Failure> {
    let request = find(client, trilobite_namespace, name, false).await?;
    let sampling = wait_for_end(client, &request, &LiveCounts::default()).await?;
    let agents = match nodes_with_session(client, name, sampling).await {
        Some(nodes) => connect_nodes(transport, nodes).await?,
        None => connect(transport, None).await?,
    };
    let results = fetch_all(&agents, &name.to_string(), SearchedNodes::Any).await?;
    if let Some(warning) = not_fetched(results.len(), sampling, &request) {
        stderr_line!("warning: {warning}");
    }
    Ok(results)
}

pub(super) async fn fetch_by_read_api(
    client: &Client,
    api: &ReadApi,
    trilobite_namespace: &str,
    name: &PodName,
) -> Result<MergedProfile, Failure> {
    let request = find(client, trilobite_namespace, name, true).await?;
    by_read_api::wait_and_fetch(client, api, &request).await
}

/// Fails without the rights to fetch the result, before anything is waited for.
async fn find(
    client: &Client,
    trilobite_namespace: &str,
    name: &PodName,
    by_read_api: bool,
) -> Result<ProfileRequest, Failure> {
    let mut rights = vec![Right::appprofiles("get", &name.namespace)];
    rights.extend(Right::to_fetch_results(&name.namespace, trilobite_namespace, by_read_api));
    require_rights(client, &format!("fetching the result of appprofile {name}"), &rights).await?;
    let profiles: Api<AppProfile> = Api::namespaced(client.clone(), &name.namespace);
    let found = profiles.get_opt(&name.name).await;
    let found = found.map_err(|error| ClusterError::new(format!("read appprofile {name}"), "appprofiles", error))?;
    let profile = found.ok_or_else(|| ProfileError::NoProfile {
        name: name.to_string(),
        list: own_command(&format!("profiles -n {}", name.namespace), trilobite_namespace),
    })?;
    Ok(ProfileRequest::existing(name, &profile, trilobite_namespace))
}

/// Nodes whose NodeRuntime lists the AppProfile's session, if these are all that have sampled. None if every agent has to
/// be asked: sessions that have ended are removed after a while, and not every user may read NodeRuntimes.
async fn nodes_with_session(client: &Client, name: &PodName, sampling: usize) -> Option<BTreeSet<String>> {
    let nodes = Api::<NodeRuntime>::all(client.clone()).list(&ListParams::default()).await.ok()?;
    let session = format!("appprofile.{}.{}", name.namespace, name.name);
    let with_session = nodes.items.iter().filter(|node| has_session(node, &session));
    let found: BTreeSet<String> = with_session.map(ResourceExt::name_any).collect();
    (sampling > 0 && found.len() >= sampling).then_some(found)
}

fn has_session(node: &NodeRuntime, session: &str) -> bool {
    let reported = node.status.iter().flat_map(|status| &status.sessions).any(|one| one.name == session);
    reported || node.spec.sessions.iter().any(|one| one.name == session)
}
