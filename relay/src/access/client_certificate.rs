//! The user that a client certificate of the cluster's own CA names, as the API server reads it.

use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::user::User;

/// A group that the API server adds to every user whom it knows.
const AUTHENTICATED: &str = "system:authenticated";

/// The common name is the user, organizations are groups; none without a name.
pub fn user_of_certificate(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok().filter(|name| !name.is_empty())?;
    let organizations = subject.iter_organization().filter_map(|one| one.as_str().ok());
    let groups = organizations.chain([AUTHENTICATED]).map(str::to_owned).collect();
    Some(User { name: name.to_owned(), groups, ..User::default() })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn user(subject: &[(DnType, &str)]) -> Option<User> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        subject.iter().for_each(|(kind, value)| params.distinguished_name.push(kind.clone(), *value));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        user_of_certificate(certificate.der())
    }

    #[test]
    fn name_and_groups_are_those_of_the_subject() {
        let zoe = user(&[(DnType::OrganizationName, "dev"), (DnType::CommonName, "zoe")]).unwrap();
        assert_eq!((zoe.name.as_str(), zoe.groups), ("zoe", vec!["dev".into(), "system:authenticated".into()]));
    }

    #[test]
    fn certificate_without_a_name_is_no_user() {
        assert_eq!(user(&[(DnType::OrganizationName, "system:masters")]), None);
        assert_eq!(user(&[(DnType::CommonName, "")]), None);
    }
}
