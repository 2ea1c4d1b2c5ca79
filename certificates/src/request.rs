//! A request: a new key, and the CSR with exactly the names that the signer grants.

use std::net::IpAddr;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use trilobite_crds::read_api::Signer;

/// What to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who signs, which decides subject and names.
    pub signer: Signer,
    /// Name of the node; the relay's certificates do not depend on it.
    pub node: String,
    /// Namespace of the stack.
    pub namespace: String,
    /// InternalIPs of the node; for `Signer::NodeServing` only.
    pub ip_addresses: Vec<IpAddr>,
}

/// A key and the request that it has signed.
pub(crate) struct SignedRequest {
    pub(crate) pem: String,
    /// PKCS#8.
    pub(crate) key: Vec<u8>,
}

impl Request {
    /// A request without addresses.
    pub fn new(signer: Signer, node: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self { signer, node: node.into(), namespace: namespace.into(), ip_addresses: Vec::new() }
    }

    /// Makes a new key for each request, so that a renewed certificate has a new one.
    pub(crate) fn sign(&self) -> Result<SignedRequest, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(self.signer.dns_names(&self.node, &self.namespace))?;
        params.subject_alt_names.extend(self.ip_addresses.iter().map(|address| SanType::IpAddress(*address)));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.signer.common_name());
        Ok(SignedRequest { pem: params.serialize_request(&key)?.pem()?, key: key.serialize_der() })
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::{CertificateSigningRequestDer, pem::PemObject};
    use x509_parser::{certification_request::X509CertificationRequest, extensions::ParsedExtension, prelude::FromDer};

    use super::*;

    fn names(request: &Request) -> (String, Vec<String>) {
        let signed = request.sign().unwrap();
        let der = CertificateSigningRequestDer::from_pem_slice(signed.pem.as_bytes()).unwrap();
        let (_, csr) = X509CertificationRequest::from_der(&der).unwrap();
        let names = csr.requested_extensions().into_iter().flatten().flat_map(|extension| match extension {
            ParsedExtension::SubjectAlternativeName(names) => {
                names.general_names.iter().map(ToString::to_string).collect()
            }
            _ => Vec::new(),
        });
        (csr.certification_request_info.subject.to_string(), names.collect())
    }

    #[test]
    fn relay_asks_for_its_identity_alone() {
        let (subject, names) = names(&Request::new(Signer::RelayClient, "alder", "reef"));
        assert_eq!(subject, "CN=trilobite-relay");
        assert_eq!(names, ["DNSName(trilobite-relay)"]);
    }

    #[test]
    fn agent_asks_for_its_node_names_and_addresses() {
        let mut request = Request::new(Signer::NodeServing, "alder.example", "reef");
        request.ip_addresses = vec!["10.1.2.3".parse().unwrap()];
        let (subject, names) = names(&request);
        assert_eq!(subject, "CN=trilobite-node");
        assert_eq!(names[0], "DNSName(alder.example.trilobite-node.reef.svc)");
        assert_eq!(names[1], "DNSName(alder-example.default.hubble-grpc.cilium.io)");
        assert!(names[2].contains("0a:01:02:03") || names[2].contains("10, 1, 2, 3"), "{names:?}");
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn each_request_has_a_key_of_its_own() {
        let request = Request::new(Signer::RelayServing, "alder", "reef");
        assert_ne!(request.sign().unwrap().key, request.sign().unwrap().key);
    }
}
