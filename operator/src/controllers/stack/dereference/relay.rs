//! What exists of the relay and its certificates, and whether there is something to read through it.

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Pod, Secret, Service},
        rbac::v1::ClusterRole,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
    kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceCondition},
};
use kube::{Api, ResourceExt as _, api::ListParams, core::DeserializeGuard, runtime::reflector::ObjectRef};
use trilobite_crds::{
    AppProfile,
    read_api::{API_SERVICE, CA, RELAY},
};

use crate::{
    certificate_authority::StoredAuthority,
    context::{Context, Withdrawal},
    labels::{MANAGER, owner_reference, relay_selector_query},
    status::waiting_reason,
};

#[derive(Clone, Debug, Default)]
pub(crate) struct DereferencedRelay {
    /// A session runs, or nodes have the result of an AppProfile.
    pub(crate) has_readers: bool,
    /// The operator's own namespace is being deleted.
    pub(crate) namespace_ends: bool,
    pub(crate) authority: Option<StoredAuthority>,
    /// UID of the stack that owns the Secret of the CA; an earlier stack's is about to be deleted.
    pub(crate) authority_owner: Option<String>,
    pub(crate) deployment: Option<Deployment>,
    pub(crate) has_service: bool,
    /// Why no pod of the relay is ready, while none is.
    pub(crate) why_unavailable: Option<String>,
    pub(crate) api_service: Option<APIService>,
    /// The operator's ClusterRole: the installation removes it, and with it what it owns.
    pub(crate) installation: Option<OwnerReference>,
    /// Since when the API server has not reached it, by the operator's clock.
    pub(crate) unreachable_since: Option<Timestamp>,
    pub(crate) withdrawal: Option<Withdrawal>,
    pub(crate) now: Timestamp,
}

impl DereferencedRelay {
    /// Replicas that serve.
    pub(crate) fn available(&self) -> i32 {
        let status = self.deployment.as_ref().and_then(|deployment| deployment.status.as_ref());
        status.and_then(|status| status.available_replicas).unwrap_or_default()
    }

    /// What the API server says of the relay while it cannot reach it.
    pub(crate) fn unreachable(&self) -> Option<&APIServiceCondition> {
        let status = self.api_service.as_ref()?.status.as_ref()?;
        let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == "Available")?;
        Some(condition).filter(|condition| condition.status == "False")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("getting {kind} {name}: {source}")]
pub(crate) struct GetError {
    pub(super) kind: &'static str,
    pub(super) name: &'static str,
    pub(super) source: kube::Error,
}

pub(super) async fn dereference_relay(context: &Context) -> Result<DereferencedRelay, GetError> {
    let (client, namespace) = (&context.client, context.arguments.namespace.as_str());
    let failed = |kind: &'static str, name: &'static str| move |source| GetError { kind, name, source };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets.get_opt(CA).await.map_err(failed("Secret", CA))?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let api_services: Api<APIService> = Api::all(client.clone());
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let installation = roles.get_metadata_opt(MANAGER).await.map_err(failed("ClusterRole", MANAGER))?;
    let mut relay = DereferencedRelay {
        has_readers: has_sessions(context) || has_results(context),
        namespace_ends: namespace_ends(context),
        authority_owner: secret
            .as_ref()
            .and_then(|secret| secret.owner_references().first().map(|owner| owner.uid.clone())),
        authority: secret.and_then(read_authority),
        deployment: deployments.get_opt(RELAY).await.map_err(failed("Deployment", RELAY))?,
        has_service: services.get_metadata_opt(RELAY).await.map_err(failed("Service", RELAY))?.is_some(),
        why_unavailable: None,
        api_service: api_services.get_opt(API_SERVICE).await.map_err(failed("APIService", API_SERVICE))?,
        installation: installation
            .and_then(|role| role.metadata.uid)
            .map(|uid| owner_reference("rbac.authorization.k8s.io/v1", "ClusterRole", MANAGER, &uid, false)),
        unreachable_since: None,
        withdrawal: context.withdrawal.lock().clone(),
        now: Timestamp::now(),
    };
    relay.unreachable_since = unreachable_since(context, &relay);
    if relay.deployment.is_some() && relay.available() == 0 {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let pods = pods.list(&ListParams::default().labels(&relay_selector_query())).await;
        let pods = pods.map_err(failed("Pod", RELAY))?.items;
        relay.why_unavailable = refused_pods(&relay).or_else(|| pods.iter().find_map(waiting_reason));
    }
    Ok(relay)
}

/// Remembers the first time that the API server did not reach the relay.
fn unreachable_since(context: &Context, relay: &DereferencedRelay) -> Option<Timestamp> {
    let mut since = context.unreachable_since.lock();
    *since = relay.unreachable().map(|_| since.unwrap_or(relay.now));
    *since
}

fn has_sessions(context: &Context) -> bool {
    context.stores.runtimes.state().iter().any(|runtime| !runtime.spec.sessions.is_empty())
}

/// An AppProfile that has started is read until it is deleted.
fn has_results(context: &Context) -> bool {
    let started = |profile: &AppProfile| profile.status.as_ref().is_some_and(|status| status.started_at.is_some());
    let profiles = context.stores.profiles.state();
    profiles.iter().any(|profile| matches!(profile.as_ref(), DeserializeGuard(Ok(profile)) if started(profile)))
}

fn namespace_ends(context: &Context) -> bool {
    let namespace = context.stores.namespaces.get(&ObjectRef::new(&context.arguments.namespace));
    namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
}

/// A Secret that cannot be read is replaced: nothing that it signed can be checked by anyone who reads it anew.
fn read_authority(secret: Secret) -> Option<StoredAuthority> {
    match StoredAuthority::read(&secret.data.unwrap_or_default()) {
        Ok(authority) => Some(authority),
        Err(error) => {
            tracing::warn!(%error, secret = CA, "the CA cannot be read and is made anew");
            None
        }
    }
}

/// Why the API server refuses the relay's pods.
fn refused_pods(relay: &DereferencedRelay) -> Option<String> {
    let status = relay.deployment.as_ref()?.status.as_ref()?;
    let failure = status.conditions.iter().flatten().find(|condition| condition.type_ == "ReplicaFailure");
    failure.filter(|failure| failure.status == "True")?.message.clone()
}
