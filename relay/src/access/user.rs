//! Users as Kubernetes knows them, and who speaks for them.

use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The other side of a TLS connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Common name of the client certificate, which the CA of request headers has signed; none without a certificate.
    pub common_name: Option<String>,
}
