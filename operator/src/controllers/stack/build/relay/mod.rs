//! The objects of the relay, while one is wanted: the CA and its bundle, Deployment, PodDisruptionBudget, Services, and the
//! APIService while the relay can be reached.

mod api_service;
mod certificates;
mod deployment;
mod disruption_budget;
mod service;
#[cfg(test)]
mod tests;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Secret, Service},
        policy::v1::PodDisruptionBudget,
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use trilobite_crds::stack::HubbleRelayMode;

use self::{
    api_service::build_api_service,
    certificates::{build_bundle, build_hubble_relay_secret, build_secret},
    deployment::build_deployment,
    disruption_budget::build_disruption_budget,
    service::{build_hubble_service, build_peer_service, build_service},
};
use crate::{
    certificate_authority::{AuthorityError, StoredAuthority, rotate},
    controllers::stack::{
        dereference::DereferencedStack,
        validate::{Registration, ValidatedStack},
    },
};

#[derive(Debug)]
pub(crate) struct RelayObjects {
    /// The CA as the Secret has it once it is applied.
    pub(crate) authority: StoredAuthority,
    /// None if the Secret is as it has to be.
    pub(crate) secret: Option<Secret>,
    pub(crate) bundle: ConfigMap,
    pub(crate) deployment: Deployment,
    /// None for one replica.
    pub(crate) disruption_budget: Option<PodDisruptionBudget>,
    pub(crate) service: Service,
    pub(crate) hubble_service: Service,
    pub(crate) api_service: Option<APIService>,
    /// None if an unmodified hubble-relay may not read the agents.
    pub(crate) hubble_relay: Option<HubbleRelayObjects>,
}

#[derive(Debug)]
pub(crate) struct HubbleRelayObjects {
    /// None if it is as it has to be.
    pub(crate) secret: Option<Secret>,
    pub(crate) peer_service: Service,
}

/// None if no relay is wanted.
pub(super) fn build_relay(
    validated: &ValidatedStack,
    dereferenced: &DereferencedStack,
) -> Result<Option<RelayObjects>, AuthorityError> {
    let Ok(relay) = &validated.relay else { return Ok(None) };
    let stored = dereferenced.relay.authority.as_ref();
    let is_ours = dereferenced.relay.authority_owner.as_ref() == Some(&validated.owner.uid);
    let (authority, changed) = match (rotate(stored, dereferenced.relay.now)?, stored) {
        (None, Some(stored)) => (stored.clone(), !is_ours),
        (None, None) => return Ok(None),
        (Some(rotated), _) => (rotated, true),
    };
    let api_service = (relay.registration == Registration::Registered)
        .then(|| build_api_service(validated, dereferenced.relay.installation.as_ref(), &authority));
    let hubble_relay = match relay.spec.hubble_relay {
        HubbleRelayMode::Disabled => None,
        HubbleRelayMode::Enabled => Some(HubbleRelayObjects {
            secret: build_hubble_relay_secret(validated, &dereferenced.relay, &authority)?,
            peer_service: build_peer_service(validated, relay.agent_port),
        }),
    };
    Ok(Some(RelayObjects {
        secret: changed.then(|| build_secret(validated, &authority)),
        bundle: build_bundle(validated, &authority),
        deployment: build_deployment(validated, relay),
        disruption_budget: build_disruption_budget(validated, relay),
        service: build_service(validated),
        hubble_service: build_hubble_service(validated),
        api_service,
        hubble_relay,
        authority,
    }))
}
