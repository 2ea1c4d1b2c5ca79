//! Users as Kubernetes knows them, and who speaks for them.

use std::{collections::BTreeMap, fmt};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Whom bounds are counted for. The service accounts of a namespace count together: its tenant makes as many as it likes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tenant {
    User(String),
    Namespace(String),
}

impl User {
    pub fn tenant(&self) -> Tenant {
        let account = self.name.strip_prefix("system:serviceaccount:").and_then(|account| account.split_once(':'));
        match account {
            Some((namespace, _)) => Tenant::Namespace(namespace.to_owned()),
            None => Tenant::User(self.name.clone()),
        }
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user {name:?}"),
            Self::Namespace(name) => write!(f, "the service accounts of namespace {name:?}"),
        }
    }
}

/// The other side of a TLS connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Common name of the client certificate, which the CA of request headers has signed; none without a certificate.
    pub common_name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_accounts_of_a_namespace_are_one_tenant() {
        let tenant = |name: &str| User { name: name.into(), ..User::default() }.tenant();
        assert_eq!(tenant("system:serviceaccount:shop:one"), tenant("system:serviceaccount:shop:two"));
        assert_ne!(tenant("system:serviceaccount:shop:one"), tenant("system:serviceaccount:bank:one"));
        assert_ne!(tenant("zoe"), tenant("ida"));
        assert_ne!(tenant("shop"), tenant("system:serviceaccount:shop:one"));
        assert_eq!(tenant("system:serviceaccount:shop:one").to_string(), "the service accounts of namespace \"shop\"");
    }
}
