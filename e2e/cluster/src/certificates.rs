//! The cluster's own certificate authority and what it signs. Keys never leave the state folder.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::error::{Error, Result};
use crate::files;

/// Who a certificate is for, in the terms of Kubernetes.
pub(crate) struct CertificateSubject<'a> {
    pub user: &'a str,
    pub group: Option<&'a str>,
    /// DNS names and addresses it may be reached by.
    pub names: Vec<String>,
}

/// The names by which the API server is reached, from inside pods and from outside.
pub(crate) fn api_server_names(addresses: &[IpAddr]) -> Vec<String> {
    let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let names = names.iter().map(ToString::to_string);
    names
        .chain(["kubernetes.default.svc.cluster.local".to_owned()])
        .chain(addresses.iter().map(ToString::to_string))
        .collect()
}

/// The authority that every part of the cluster trusts.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes the cluster's own, and writes `ca.crt` and `ca.key` into the folder.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        Self::create_named(folder, "ca", "trilobite-test-cluster")
    }

    /// Makes the one by which aggregated API servers know the API server: whom it signs may speak for any user, so it
    /// signs one client alone.
    pub(crate) fn create_front_proxy(folder: &Path) -> Result<Self> {
        Self::create_named(folder, "front-proxy-ca", "trilobite-test-front-proxy")
    }

    fn create_named(folder: &Path, file: &str, common_name: &str) -> Result<Self> {
        let failed = |source| Error::Certificate { name: file.to_owned(), source };
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        params.distinguished_name = name(common_name, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        files::write(&folder.join(format!("{file}.crt")), certificate.pem())?;
        files::write(&folder.join(format!("{file}.key")), key.serialize_pem())?;
        Ok(Self { issuer: Issuer::new(params, key) })
    }

    /// Signs a certificate for the subject, and writes `<file>.crt` and `<file>.key` into the folder.
    pub(crate) fn issue(&self, folder: &Path, file: &str, subject: &CertificateSubject<'_>) -> Result<()> {
        let failed = |source| Error::Certificate { name: subject.user.to_owned(), source };
        let params = params(subject).map_err(failed)?;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        files::write(&folder.join(format!("{file}.crt")), certificate.pem())?;
        files::write(&folder.join(format!("{file}.key")), key.serialize_pem())
    }
}

/// Writes the key pair that signs the tokens of service accounts: `sa.key` and `sa.pub`.
pub(crate) fn create_token_key(folder: &Path) -> Result<()> {
    let key = KeyPair::generate().map_err(|source| Error::Certificate { name: "sa".to_owned(), source })?;
    files::write(&folder.join("sa.key"), key.serialize_pem())?;
    files::write(&folder.join("sa.pub"), key.public_key_pem())
}

fn params(subject: &CertificateSubject<'_>) -> std::result::Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(subject.names.clone())?;
    params.distinguished_name = name(subject.user, subject.group);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn name(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name.push(DnType::CommonName, user);
    name
}

#[cfg(test)]
mod tests {
    use rcgen::SanType;

    use super::*;

    #[test]
    fn addresses_become_address_names_and_the_rest_dns_names() {
        let names = api_server_names(&["10.99.0.1".parse().unwrap(), "fd00:99::1".parse().unwrap()]);
        let params = params(&CertificateSubject { user: "kube-apiserver", group: None, names }).unwrap();
        let addresses: Vec<IpAddr> = params
            .subject_alt_names
            .iter()
            .filter_map(|name| if let SanType::IpAddress(address) = name { Some(*address) } else { None })
            .collect();
        assert_eq!(addresses, ["10.99.0.1".parse::<IpAddr>().unwrap(), "fd00:99::1".parse().unwrap()]);
        let dns = params.subject_alt_names.iter().filter(|name| matches!(name, SanType::DnsName(_))).count();
        assert_eq!(dns, 5);
    }

    #[test]
    fn a_user_and_its_group_are_the_subject() {
        let subject = CertificateSubject { user: "system:node:node1", group: Some("system:nodes"), names: Vec::new() };
        let name = params(&subject).unwrap().distinguished_name;
        assert_eq!(name.get(&DnType::CommonName), Some(&"system:node:node1".into()));
        assert_eq!(name.get(&DnType::OrganizationName), Some(&"system:nodes".into()));
    }

    #[test]
    fn the_authority_writes_each_certificate_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(folder.path()).unwrap();
        authority
            .issue(folder.path(), "admin", &CertificateSubject { user: "admin", group: None, names: Vec::new() })
            .unwrap();
        create_token_key(folder.path()).unwrap();
        for file in ["ca.crt", "ca.key", "admin.crt", "admin.key", "sa.key", "sa.pub"] {
            assert!(files::read(&folder.path().join(file)).unwrap().starts_with("-----BEGIN"), "{file}");
        }
    }
}
