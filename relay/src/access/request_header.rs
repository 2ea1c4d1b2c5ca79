//! How the API server names the user whose request it passes on, and which CA signs users' own certificates: ConfigMap
//! kube-system/extension-apiserver-authentication.

use std::{collections::BTreeMap, convert::Infallible, pin::pin, sync::Arc};

use axum::http::{HeaderMap, HeaderValue};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use percent_encoding::percent_decode_str;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::sync::watch;
use trilobite_backoff::watch_backoff;

use super::user::User;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// Whose client certificate may name users, and in which headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeaders {
    pub client_ca: Vec<CertificateDer<'static>>,
    /// The CA of users' own client certificates; empty where the API server takes none.
    pub user_ca: Vec<CertificateDer<'static>>,
    /// Common names of the certificates; empty for any.
    pub allowed_names: Vec<String>,
    user_headers: Vec<String>,
    uid_headers: Vec<String>,
    group_headers: Vec<String>,
    extra_prefixes: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("ConfigMap {NAMESPACE}/{NAME}: {0}")]
pub struct RequestHeadersError(String);

impl RequestHeaders {
    pub fn read(data: &BTreeMap<String, String>) -> Result<Self, RequestHeadersError> {
        let ca = data.get("requestheader-client-ca-file").ok_or_else(|| {
            let text =
                "it has no requestheader-client-ca-file: the API server runs without the flags of an aggregation layer";
            RequestHeadersError(text.into())
        })?;
        let client_ca = certificates("requestheader-client-ca-file", ca)?;
        if client_ca.is_empty() {
            return Err(RequestHeadersError("requestheader-client-ca-file holds no certificate".into()));
        }
        let list = |key: &str| match data.get(key) {
            None => Ok(Vec::new()),
            Some(text) => serde_json::from_str::<Vec<String>>(text)
                .map_err(|error| RequestHeadersError(format!("{key}: {error}"))),
        };
        let lower = |key: &str| list(key).map(|names| names.iter().map(|name| name.to_ascii_lowercase()).collect());
        Ok(Self {
            client_ca,
            user_ca: data.get("client-ca-file").map_or(Ok(Vec::new()), |ca| certificates("client-ca-file", ca))?,
            allowed_names: list("requestheader-allowed-names")?,
            user_headers: lower("requestheader-username-headers")?,
            uid_headers: lower("requestheader-uid-headers")?,
            group_headers: lower("requestheader-group-headers")?,
            extra_prefixes: lower("requestheader-extra-headers-prefix")?,
        })
    }

    /// Whether a certificate with this common name may name users.
    pub fn allows(&self, common_name: &str) -> bool {
        self.allowed_names.is_empty() || self.allowed_names.iter().any(|allowed| allowed == common_name)
    }

    /// The user that a certificate with this common name speaks for; none if it may not, or names none.
    pub fn user(&self, common_name: &str, headers: &HeaderMap) -> Option<User> {
        if !self.allows(common_name) {
            return None;
        }
        let first = |names: &[String]| {
            names.iter().filter_map(|name| headers.get(name)).map(text).find(|value| !value.is_empty())
        };
        let name = first(&self.user_headers)?;
        let groups = self.group_headers.iter().flat_map(|name| headers.get_all(name)).map(text).collect();
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (header, value) in headers {
            let key = self.extra_prefixes.iter().find_map(|prefix| header.as_str().strip_prefix(prefix.as_str()));
            if let Some(key) = key {
                // Keys are escaped like parts of a path, because headers do not hold every character.
                let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
                extra.entry(key).or_default().push(text(value));
            }
        }
        Some(User { name, uid: first(&self.uid_headers).unwrap_or_default(), groups, extra })
    }
}

fn certificates(key: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, RequestHeadersError> {
    let read = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    read.map_err(|error| RequestHeadersError(format!("{key}: {error}")))
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Follows the ConfigMap for ever. One that cannot be read, or is deleted, leaves the last one.
pub async fn watch_request_headers(client: Client, headers: watch::Sender<Option<Arc<RequestHeaders>>>) -> Infallible {
    let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let mut events = pin!(watcher(maps, config).backoff(watch_backoff()));
    loop {
        match events.try_next().await {
            Ok(Some(Event::InitApply(map) | Event::Apply(map))) => {
                match RequestHeaders::read(&map.data.unwrap_or_default()) {
                    Ok(read) => {
                        headers.send_if_modified(|last| {
                            let is_new = last.as_deref() != Some(&read);
                            *last = Some(Arc::new(read));
                            is_new
                        });
                    }
                    Err(error) => tracing::warn!(%error, "requests of the API server are authenticated as before"),
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot watch ConfigMap {NAMESPACE}/{NAME}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn data(allowed: &str) -> BTreeMap<String, String> {
        let key = KeyPair::generate().unwrap();
        let ca = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem();
        [
            ("requestheader-client-ca-file", ca.as_str()),
            ("requestheader-allowed-names", allowed),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        list.iter().for_each(|(name, value)| {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        });
        headers
    }

    #[test]
    fn user_groups_and_extra_are_read() {
        let read = RequestHeaders::read(&data(r#"["front-proxy-client"]"#)).unwrap();
        let user = read
            .user(
                "front-proxy-client",
                &headers(&[
                    ("x-remote-user", "zoë"),
                    ("x-remote-group", "dev"),
                    ("x-remote-group", "system:authenticated"),
                    ("x-remote-extra-authentication.kubernetes.io%2fpod-name", "cart-7"),
                    ("authorization", "Bearer x"),
                ]),
            )
            .unwrap();
        assert_eq!(
            (user.name.as_str(), user.groups.as_slice()),
            ("zoë", &["dev".into(), "system:authenticated".into()][..])
        );
        let extra = BTreeMap::from([("authentication.kubernetes.io/pod-name".to_owned(), vec!["cart-7".to_owned()])]);
        assert_eq!(user.extra, extra);
    }

    #[test]
    fn other_certificate_of_the_same_ca_names_no_user() {
        let user = headers(&[("x-remote-user", "admin")]);
        let read = RequestHeaders::read(&data(r#"["front-proxy-client"]"#)).unwrap();
        assert_eq!(read.user("kubelet", &user), None);
        assert_eq!(read.user("front-proxy-client", &HeaderMap::new()), None);
        assert!(RequestHeaders::read(&data("[]")).unwrap().user("kubelet", &user).is_some(), "any name is allowed");
    }

    #[test]
    fn missing_and_broken_settings_are_named() {
        let error = RequestHeaders::read(&BTreeMap::new()).unwrap_err().to_string();
        assert!(
            error.contains("extension-apiserver-authentication: it has no requestheader-client-ca-file"),
            "{error}"
        );
        let error = RequestHeaders::read(&data("front-proxy")).unwrap_err().to_string();
        assert!(error.contains("requestheader-allowed-names: "), "{error}");
        let mut broken = data("[]");
        broken.insert("client-ca-file".into(), "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n".into());
        let error = RequestHeaders::read(&broken).unwrap_err().to_string();
        assert!(error.contains(": client-ca-file: "), "{error}");
    }

    #[test]
    fn ca_of_users_is_read_where_there_is_one() {
        let mut data = data("[]");
        assert_eq!(RequestHeaders::read(&data).unwrap().user_ca, []);
        let ca = data["requestheader-client-ca-file"].clone();
        data.insert("client-ca-file".into(), ca);
        let read = RequestHeaders::read(&data).unwrap();
        assert_eq!((read.user_ca.len(), &read.user_ca), (1, &read.client_ca));
    }
}
