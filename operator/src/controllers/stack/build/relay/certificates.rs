//! The CA as a Secret that the operator alone reads, and the certificates that agents and the relay trust as a ConfigMap.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use trilobite_crds::read_api::{CA, CA_BUNDLE_KEY};

use crate::{
    certificate_authority::StoredAuthority, controllers::stack::validate::ValidatedStack, labels::relay_metadata,
};

pub(super) fn build_secret(validated: &ValidatedStack, authority: &StoredAuthority) -> Secret {
    Secret {
        metadata: relay_metadata(CA, Some(&validated.namespace), &validated.owner),
        type_: Some("kubernetes.io/tls".into()),
        data: Some(authority.write()),
        ..Secret::default()
    }
}

pub(super) fn build_bundle(validated: &ValidatedStack, authority: &StoredAuthority) -> ConfigMap {
    ConfigMap {
        metadata: relay_metadata(CA, Some(&validated.namespace), &validated.owner),
        data: Some([(CA_BUNDLE_KEY.to_owned(), authority.bundle())].into()),
        ..ConfigMap::default()
    }
}
