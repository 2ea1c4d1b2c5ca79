//! Certificate authorities for tests.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use trilobite_certificates::{Bundle, Certificate};

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    pub(crate) certificate: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let signed = params.self_signed(&key).unwrap();
        let (pem, certificate) = (signed.pem(), signed.der().clone());
        Self { issuer: Issuer::new(params, key), pem, certificate }
    }

    pub(crate) fn issue(&self, common_name: &str, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = named(common_name);
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        Certificate::read(signed.pem().as_bytes(), key.serialize_der()).unwrap()
    }

    pub(crate) fn client(&self, common_name: &str) -> Certificate {
        self.issue(common_name, &[common_name], ExtendedKeyUsagePurpose::ClientAuth)
    }

    pub(crate) fn server(&self, name: &str) -> Certificate {
        self.issue(name, &[name], ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub(crate) fn bundle(&self) -> Bundle {
        Bundle { certificates: vec![self.certificate.clone()] }
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}
