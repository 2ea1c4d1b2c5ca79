//! A request: a new key, and the CSR with exactly the names that the signer grants.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use trilobite_crds::{planner::content_digest, read_api::Signer};

/// What to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who signs, which decides subject and names.
    pub signer: Signer,
    /// Name of the node; the relay's certificates do not depend on it.
    pub node: String,
    /// Namespace of the stack.
    pub namespace: String,
}

/// Hexadecimal digits of the key's digest in a name: no two requests of a cluster have the same.
const NAME_DIGITS: usize = 20;

/// A key and the request that it has signed.
pub(crate) struct SignedRequest {
    /// Of the object: made of the public key, so that a repeated creation is known as such.
    pub(crate) name: String,
    pub(crate) pem: String,
    /// PKCS#8.
    pub(crate) key: Vec<u8>,
}

impl Request {
    /// A request of this signer.
    pub fn new(signer: Signer, node: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self { signer, node: node.into(), namespace: namespace.into() }
    }

    /// Makes a new key for each request, so that a renewed certificate has a new one.
    pub(crate) fn sign(&self) -> Result<SignedRequest, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(self.signer.dns_names(&self.node, &self.namespace))?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.signer.common_name());
        let digest = content_digest(&key.subject_public_key_info());
        let name = format!("{}-{}", self.signer.account(), digest.get(..NAME_DIGITS).unwrap_or(&digest));
        Ok(SignedRequest { name, pem: params.serialize_request(&key)?.pem()?, key: key.serialize_der() })
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
    fn agent_asks_for_its_node_names_alone() {
        let request = Request::new(Signer::NodeServing, "alder.example", "reef");
        let (subject, names) = names(&request);
        assert_eq!(subject, "CN=trilobite-node");
        let expected = [
            "alder.example.trilobite-node.reef.svc",
            "alder-example.default.hubble-grpc.cilium.io",
            "hubble-peer.default.hubble-grpc.cilium.io",
        ];
        assert_eq!(names, expected.map(|name| format!("DNSName({name})")));
    }

    #[test]
    fn each_request_has_a_key_of_its_own() {
        let request = Request::new(Signer::RelayServing, "alder", "reef");
        let (one, other) = (request.sign().unwrap(), request.sign().unwrap());
        assert_ne!(one.key, other.key);
        assert_ne!(one.name, other.name);
        assert_eq!(one.name.len(), "trilobite-relay-".len() + NAME_DIGITS);
    }
}
