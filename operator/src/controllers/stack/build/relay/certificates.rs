//! The CA as a Secret that the operator alone reads, the certificates that agents and the relay trust as a ConfigMap, and the client
//! certificate of an unmodified hubble-relay as a Secret for its pod.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use trilobite_crds::read_api::{CA, CA_BUNDLE_KEY, HUBBLE_RELAY_SECRET};

use crate::{
    certificate_authority::{AuthorityError, StoredAuthority, issue_hubble_relay},
    controllers::stack::{dereference::DereferencedRelay, validate::ValidatedStack},
    labels::relay_metadata,
};

pub(super) fn build_secret(validated: &ValidatedStack, authority: &StoredAuthority) -> Secret {
    Secret {
        metadata: relay_metadata(CA, Some(&validated.namespace), &validated.owner),
        type_: Some("kubernetes.io/tls".into()),
        data: Some(authority.write()),
        ..Secret::default()
    }
}

/// None if the Secret is as it has to be.
pub(super) fn build_hubble_relay_secret(
    validated: &ValidatedStack,
    dereferenced: &DereferencedRelay,
    authority: &StoredAuthority,
) -> Result<Option<Secret>, AuthorityError> {
    let now = dereferenced.now;
    if dereferenced.hubble_relay_certificate.as_ref().is_some_and(|stored| stored.is_current(authority, now)) {
        return Ok(None);
    }
    Ok(Some(Secret {
        metadata: relay_metadata(HUBBLE_RELAY_SECRET, Some(&validated.namespace), &validated.owner),
        type_: Some("kubernetes.io/tls".into()),
        data: Some(issue_hubble_relay(authority, now)?),
        ..Secret::default()
    }))
}

pub(super) fn build_bundle(validated: &ValidatedStack, authority: &StoredAuthority) -> ConfigMap {
    ConfigMap {
        metadata: relay_metadata(CA, Some(&validated.namespace), &validated.owner),
        data: Some([(CA_BUNDLE_KEY.to_owned(), authority.bundle())].into()),
        ..ConfigMap::default()
    }
}
