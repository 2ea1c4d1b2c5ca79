//! Whether the stack wants a relay, and whether the API server may be told about it. Pure.

use std::time::Duration;

use jiff::SignedDuration;
use trilobite_crds::{
    ObservabilityStackSpec,
    read_api::{Listen, RELAY},
    stack::{Layer, LayerMode, RelayMode, RelaySpec},
};

use crate::{
    args::Arguments, context::Withdrawal, controllers::stack::dereference::DereferencedRelay, status::RelayState,
};

/// When an APIService that was withdrawn for that is tried again.
const RETRY_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// A relay that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ValidatedRelay {
    pub(crate) spec: RelaySpec,
    pub(crate) image: String,
    /// What agents are told.
    pub(crate) listen: Listen,
    /// The port of `listen`.
    pub(crate) agent_port: u16,
    pub(crate) registration: Registration,
}

/// Whether the APIService exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Registration {
    Registered,
    /// No replica is available.
    NoReplica,
    /// The API server could not reach the relay.
    Withdrawn(Withdrawal),
}

/// Why no relay is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwanted {
    Disabled,
    NotNeeded,
    Suspended,
}

pub(super) fn validate_relay(
    spec: &ObservabilityStackSpec,
    relay: &DereferencedRelay,
    arguments: &Arguments,
) -> Result<ValidatedRelay, Unwanted> {
    let layers = [Layer::Security, Layer::Network, Layer::Application];
    let has_layer = || layers.into_iter().any(|layer| spec.layer(layer).mode == LayerMode::Enabled);
    match spec.relay.mode {
        RelayMode::Disabled => return Err(Unwanted::Disabled),
        _ if spec.suspend => return Err(Unwanted::Suspended),
        // The pods of the relay end with the namespace, and what the API server cannot reach would keep the namespace.
        _ if relay.namespace_ends => return Err(Unwanted::NotNeeded),
        RelayMode::OnDemand if !has_layer() && !relay.has_readers => return Err(Unwanted::NotNeeded),
        RelayMode::OnDemand | RelayMode::Enabled => {}
    }
    let address = spec.network.listen_address();
    Ok(ValidatedRelay {
        spec: spec.relay.clone(),
        image: arguments.relay_image.clone(),
        listen: Listen { address: address.to_string(), relay_identity: RELAY.into() },
        agent_port: address.port(),
        registration: registration(relay, arguments.relay_grace_seconds),
    })
}

/// An APIService that does not answer delays every client's discovery and the deletion of every namespace, so it stays for
/// `grace` at most.
fn registration(relay: &DereferencedRelay, grace: Duration) -> Registration {
    if relay.available() < 1 {
        return Registration::NoReplica;
    }
    if let Some(condition) = relay.unreachable_for(grace) {
        return Registration::Withdrawn(Withdrawal::new(condition, relay.now));
    }
    match &relay.withdrawal {
        Some(last) if relay.now.duration_since(last.at) < RETRY_AFTER => Registration::Withdrawn(last.clone()),
        _ => Registration::Registered,
    }
}

/// When to check again although no watch fires: times pass, and what a pod waits for changes without an event of its
/// Deployment.
pub(crate) fn recheck_after(
    validated: &Result<ValidatedRelay, Unwanted>,
    relay: &DereferencedRelay,
) -> Option<Duration> {
    let seconds = match &validated.as_ref().ok()?.registration {
        Registration::Registered if relay.unreachable().is_none() => return None,
        Registration::Registered => 5,
        Registration::NoReplica => 15,
        Registration::Withdrawn(_) => 60,
    };
    Some(Duration::from_secs(seconds))
}

/// What the stack's status says.
pub(crate) fn relay_state(validated: &Result<ValidatedRelay, Unwanted>, relay: &DereferencedRelay) -> RelayState {
    match validated {
        Err(Unwanted::Disabled) => RelayState::Disabled,
        Err(Unwanted::NotNeeded) => RelayState::NotNeeded,
        Err(Unwanted::Suspended) => RelayState::Suspended,
        Ok(wanted) => match &wanted.registration {
            Registration::Registered => {
                RelayState::Available { available: relay.available(), replicas: wanted.spec.replicas }
            }
            Registration::NoReplica => RelayState::Unavailable { why: relay.why_unavailable.clone() },
            Registration::Withdrawn(Withdrawal { why, .. }) => RelayState::Unreachable { why: why.clone() },
        },
    }
}
