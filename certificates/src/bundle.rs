//! The bundle of CAs that agents and the relay trust: a ConfigMap that the operator writes.

use std::{convert::Infallible, pin::pin, sync::Arc};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::sync::watch;
use trilobite_backoff::watch_backoff;
use trilobite_crds::read_api::{CA, CA_BUNDLE_KEY};

/// Certificates of the CA, and of its predecessor until that expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// At least one.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// The ConfigMap holds no bundle.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("ConfigMap {CA}: {0}")]
pub struct BundleError(String);

impl Bundle {
    /// Reads PEM.
    pub fn read(pem: &str) -> Result<Self, BundleError> {
        let read = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        let certificates = read.map_err(|error| BundleError(format!("{CA_BUNDLE_KEY} is not PEM: {error}")))?;
        if certificates.is_empty() {
            return Err(BundleError(format!("{CA_BUNDLE_KEY} holds no certificate")));
        }
        Ok(Self { certificates })
    }

    fn of_config_map(map: &ConfigMap) -> Result<Self, BundleError> {
        let pem = map.data.as_ref().and_then(|data| data.get(CA_BUNDLE_KEY));
        Self::read(pem.ok_or_else(|| BundleError(format!("it has no key {CA_BUNDLE_KEY}")))?)
    }
}

/// Follows the ConfigMap for ever. A bundle that cannot be read, or that is deleted, leaves the last one.
pub async fn watch_bundle(client: Client, namespace: &str, bundle: watch::Sender<Option<Arc<Bundle>>>) -> Infallible {
    let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={CA}"));
    let mut events = pin!(watcher(maps, config).backoff(watch_backoff()));
    loop {
        match events.try_next().await {
            Ok(Some(Event::InitApply(map) | Event::Apply(map))) => match Bundle::of_config_map(&map) {
                Ok(read) => {
                    bundle.send_if_modified(|last| {
                        let is_new = last.as_deref() != Some(&read);
                        *last = Some(Arc::new(read));
                        is_new
                    });
                }
                Err(error) => tracing::warn!(%error, "the bundle is not changed"),
            },
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot watch ConfigMap {CA}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_and_broken_bundles_are_refused() {
        assert_eq!(Bundle::read("").unwrap_err().to_string(), "ConfigMap trilobite-ca: ca.crt holds no certificate");
        assert!(Bundle::read("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n").is_err());
        let error = Bundle::of_config_map(&ConfigMap::default()).unwrap_err();
        assert_eq!(error.to_string(), "ConfigMap trilobite-ca: it has no key ca.crt");
    }
}
