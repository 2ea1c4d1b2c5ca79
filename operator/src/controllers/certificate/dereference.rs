//! The pod that the claims name, what owns it, and its node, from the API server: a cache could be behind.

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet},
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, Client, ResourceExt as _};
use trilobite_crds::read_api::{AGENT, RELAY, Signer};

use super::claims::Claims;

#[derive(Clone, Debug, Default)]
pub(super) struct DereferencedRequest {
    pub(super) pod: Option<Pod>,
    /// The agents' DaemonSet or the relay's Deployment owns the pod.
    pub(super) owned_by_workload: bool,
    pub(super) node: Option<Node>,
}

#[derive(Debug, thiserror::Error)]
#[error("getting {kind} {name}: {source}")]
pub(crate) struct DereferenceError {
    kind: &'static str,
    name: String,
    source: kube::Error,
}

pub(super) async fn dereference(
    client: &Client,
    namespace: &str,
    claims: &Claims,
) -> Result<DereferencedRequest, DereferenceError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = pods.get_opt(&claims.pod_name).await.map_err(failed("Pod", &claims.pod_name))?;
    let nodes: Api<Node> = Api::all(client.clone());
    let node = nodes.get_opt(&claims.node).await.map_err(failed("Node", &claims.node))?;
    let owned_by_workload = match &pod {
        None => false,
        Some(pod) => is_owned_by_workload(client, namespace, claims, pod).await?,
    };
    Ok(DereferencedRequest { pod, owned_by_workload, node })
}

/// By UID, so that neither a name nor a label that anyone may write is trusted.
async fn is_owned_by_workload(
    client: &Client,
    namespace: &str,
    claims: &Claims,
    pod: &Pod,
) -> Result<bool, DereferenceError> {
    match claims.signer {
        Signer::NodeServing => {
            let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
            let owner = daemon_sets.get_metadata_opt(AGENT).await.map_err(failed("DaemonSet", AGENT))?;
            let owner = owner.and_then(|owner| owner.metadata.uid);
            Ok(is_controlled_by(pod.owner_references(), "DaemonSet", owner.as_deref()))
        }
        Signer::RelayClient | Signer::RelayServing => {
            let controller = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
            let Some(OwnerReference { name, .. }) = controller.filter(|owner| owner.kind == "ReplicaSet") else {
                return Ok(false);
            };
            let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
            let Some(set) = sets.get_metadata_opt(name).await.map_err(failed("ReplicaSet", name))? else {
                return Ok(false);
            };
            let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
            let owner = deployments.get_metadata_opt(RELAY).await.map_err(failed("Deployment", RELAY))?;
            let owner = owner.and_then(|owner| owner.metadata.uid);
            Ok(is_controlled_by(pod.owner_references(), "ReplicaSet", set.metadata.uid.as_deref())
                && is_controlled_by(set.owner_references(), "Deployment", owner.as_deref()))
        }
    }
}

fn is_controlled_by(owners: &[OwnerReference], kind: &str, uid: Option<&str>) -> bool {
    owners.iter().any(|owner| {
        owner.controller == Some(true)
            && owner.api_version == "apps/v1"
            && owner.kind == kind
            && uid.is_some_and(|uid| owner.uid == uid)
    })
}

fn failed(kind: &'static str, name: &str) -> impl FnOnce(kube::Error) -> DereferenceError {
    let name = name.to_owned();
    move |source| DereferenceError { kind, name, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(kind: &str, uid: &str, controller: Option<bool>) -> OwnerReference {
        OwnerReference {
            api_version: "apps/v1".into(),
            kind: kind.into(),
            name: AGENT.into(),
            uid: uid.into(),
            controller,
            block_owner_deletion: None,
        }
    }

    #[test]
    fn only_the_controller_with_the_right_uid_owns_a_pod() {
        let owned = |owner: OwnerReference| is_controlled_by(&[owner], "DaemonSet", Some("uid-of-agents"));
        assert!(owned(owner("DaemonSet", "uid-of-agents", Some(true))));
        assert!(
            !owned(owner("DaemonSet", "uid-of-another", Some(true))),
            "a DaemonSet of the same name, deleted since"
        );
        assert!(!owned(owner("StatefulSet", "uid-of-agents", Some(true))));
        assert!(!owned(owner("DaemonSet", "uid-of-agents", None)), "anyone may add an owner");
        let foreign =
            OwnerReference { api_version: "example.dev/v1".into(), ..owner("DaemonSet", "uid-of-agents", Some(true)) };
        assert!(!owned(foreign));
        assert!(!is_controlled_by(&[owner("DaemonSet", "", Some(true))], "DaemonSet", None), "there is no DaemonSet");
    }
}
