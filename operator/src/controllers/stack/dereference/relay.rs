//! What exists of the relay and its certificates, and whether there is something to read through it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Pod, Secret, Service},
        policy::v1::PodDisruptionBudget,
        rbac::v1::ClusterRole,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
    kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceCondition},
};
use kube::{Api, ResourceExt as _, api::ListParams, core::DeserializeGuard};
use trilobite_crds::{
    AppProfile,
    read_api::{API_SERVICE, CA, HUBBLE_PEER, HUBBLE_RELAY, HUBBLE_RELAY_SECRET, RELAY},
};

use crate::{
    certificate_authority::{HubbleRelayCertificate, StoredAuthority},
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
    pub(crate) has_disruption_budget: bool,
    pub(crate) has_service: bool,
    pub(crate) has_hubble_service: bool,
    pub(crate) has_peer_service: bool,
    pub(crate) has_hubble_relay_secret: bool,
    /// None if the Secret of an unmodified hubble-relay does not exist, or cannot be read.
    pub(crate) hubble_relay_certificate: Option<HubbleRelayCertificate>,
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
        available_replicas(self.deployment.as_ref())
    }

    /// What the API server says of the relay while it cannot reach it.
    pub(crate) fn unreachable(&self) -> Option<&APIServiceCondition> {
        let status = self.api_service.as_ref()?.status.as_ref()?;
        let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == "Available")?;
        Some(condition).filter(|condition| condition.status == "False")
    }

    /// What the API server says of the relay once it has not reached it for so long.
    pub(crate) fn unreachable_for(&self, grace: Duration) -> Option<&APIServiceCondition> {
        let unreachable = self.now.duration_since(self.unreachable_since?).unsigned_abs();
        self.unreachable().filter(|_| unreachable >= grace)
    }
}

pub(crate) fn available_replicas(deployment: Option<&Deployment>) -> i32 {
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    status.and_then(|status| status.available_replicas).unwrap_or_default()
}

#[derive(Debug, thiserror::Error)]
#[error("getting {kind} {name}: {source}")]
pub(crate) struct GetError {
    pub(super) kind: &'static str,
    pub(super) name: &'static str,
    pub(super) source: kube::Error,
}

/// Reads what says whether the APIService is answered: itself, and the Deployment. The right to read the Deployment may be
/// gone.
pub(crate) async fn dereference_registration(
    context: &Context,
) -> Result<(DereferencedRelay, Result<(), GetError>), GetError> {
    let api_services: Api<APIService> = Api::all(context.client.clone());
    let api_service = api_services.get_opt(API_SERVICE).await.map_err(failed("APIService", API_SERVICE))?;
    let deployments: Api<Deployment> = Api::namespaced(context.client.clone(), &context.arguments.namespace);
    let (deployment, read) = match deployments.get_opt(RELAY).await.map_err(failed("Deployment", RELAY)) {
        Ok(deployment) => (deployment, Ok(())),
        Err(error) => (None, Err(error)),
    };
    let mut relay = DereferencedRelay {
        namespace_ends: context.namespace_ends(),
        deployment,
        api_service,
        withdrawal: context.withdrawal.lock().clone(),
        now: Timestamp::now(),
        ..DereferencedRelay::default()
    };
    relay.unreachable_since = unreachable_since(context, &relay);
    Ok((relay, read))
}

fn failed(kind: &'static str, name: &'static str) -> impl FnOnce(kube::Error) -> GetError {
    move |source| GetError { kind, name, source }
}

pub(super) async fn dereference_relay(context: &Context) -> Result<DereferencedRelay, GetError> {
    let (client, namespace) = (&context.client, context.arguments.namespace.as_str());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets.get_opt(CA).await.map_err(failed("Secret", CA))?;
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let hubble_service = services.get_metadata_opt(HUBBLE_RELAY).await.map_err(failed("Service", HUBBLE_RELAY))?;
    let peer_service = services.get_metadata_opt(HUBBLE_PEER).await.map_err(failed("Service", HUBBLE_PEER))?;
    let hubble_relay_secret = secrets.get_opt(HUBBLE_RELAY_SECRET).await;
    let hubble_relay_secret = hubble_relay_secret.map_err(failed("Secret", HUBBLE_RELAY_SECRET))?;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), namespace);
    let budget = budgets.get_metadata_opt(RELAY).await.map_err(failed("PodDisruptionBudget", RELAY))?;
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let installation = roles.get_metadata_opt(MANAGER).await.map_err(failed("ClusterRole", MANAGER))?;
    let (registration, deployment_read) = dereference_registration(context).await?;
    deployment_read?;
    let mut relay = DereferencedRelay {
        has_readers: has_sessions(context) || has_results(context),
        authority_owner: secret
            .as_ref()
            .and_then(|secret| secret.owner_references().first().map(|owner| owner.uid.clone())),
        authority: secret.and_then(read_authority),
        has_disruption_budget: budget.is_some(),
        has_service: services.get_metadata_opt(RELAY).await.map_err(failed("Service", RELAY))?.is_some(),
        has_hubble_service: hubble_service.is_some(),
        has_peer_service: peer_service.is_some(),
        has_hubble_relay_secret: hubble_relay_secret.is_some(),
        hubble_relay_certificate: hubble_relay_secret
            .and_then(|secret| HubbleRelayCertificate::read(&secret.data.unwrap_or_default()).ok()),
        installation: installation
            .and_then(|role| role.metadata.uid)
            .map(|uid| owner_reference("rbac.authorization.k8s.io/v1", "ClusterRole", MANAGER, &uid, false)),
        ..registration
    };
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
