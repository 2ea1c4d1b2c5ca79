//! A certificate authority for tests, and what becomes of the port while certificates come, expire and change.

use jiff::SignedDuration;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use trilobite_certificates::Certificate;

use super::*;

pub(crate) const RELAY: &str = "trilobite-relay";
pub(crate) const NODE: &str = "alder.trilobite-node.trilobite-system.svc";

/// As the operator's: signs for nodes and for the relay.
pub(crate) struct TestAuthority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
}

impl TestAuthority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    pub(crate) fn issue(&self, names: &[&str], purposes: &[ExtendedKeyUsagePurpose]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = purposes.to_vec();
        params.not_before = date_time_ymd(2000, 1, 1);
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        Certificate::read(signed.pem().as_bytes(), key.serialize_der()).unwrap()
    }

    pub(crate) fn node(&self) -> Certificate {
        self.issue(&[NODE], &[ExtendedKeyUsagePurpose::ServerAuth])
    }

    pub(crate) fn relay(&self) -> Certificate {
        self.issue(&[RELAY], &[ExtendedKeyUsagePurpose::ClientAuth])
    }

    pub(crate) fn bundle(&self) -> Bundle {
        Bundle { certificates: vec![self.certificate.clone()] }
    }

    /// What a node with a new certificate shows, and whom it lets in.
    pub(crate) fn node_config(&self) -> Arc<ServerConfig> {
        let node = self.node();
        Arc::new(server_config(node.chain.clone(), node.private_key(), &self.bundle().certificates, RELAY).unwrap())
    }
}

fn held(certificate: Option<Certificate>, problem: Option<&str>) -> CertificateState {
    CertificateState { certificate: certificate.map(Arc::new), problem: problem.map(str::to_owned) }
}

fn reason(outcome: &(Option<Arc<ServerConfig>>, Option<Problem>)) -> Option<&'static str> {
    assert!(outcome.0.is_none() || outcome.1.is_none(), "an open port has no problem");
    outcome.1.as_ref().map(|problem| problem.reason().as_str())
}

#[test]
fn port_has_a_configuration_while_its_certificate_is_valid() {
    let authority = TestAuthority::new();
    let (certificate, bundle, now) = (authority.node(), authority.bundle(), Timestamp::now());
    let end = certificate.not_after;
    let state = held(Some(certificate), Some("the API server is away"));
    let outcome = configuration(&state, Some(&bundle), Some(end), RELAY, now);
    assert!(outcome.0.is_some() && reason(&outcome).is_none(), "a failed renewal does not close the port");
    let late = configuration(&state, Some(&bundle), Some(end), RELAY, end);
    assert_eq!((late.0.is_some(), reason(&late)), (false, Some("CertificateExpired")));
    assert!(late.1.unwrap().message().contains("the API server is away"));
}

#[test]
fn missing_certificate_is_reported_with_its_cause() {
    let authority = TestAuthority::new();
    let (bundle, now) = (authority.bundle(), Timestamp::now());
    let denied = configuration(&held(None, Some("denied: WrongNode")), Some(&bundle), None, RELAY, now);
    assert_eq!(reason(&denied), Some("CertificateNotIssued"));
    assert!(denied.1.unwrap().message().contains("denied: WrongNode"));
    let requested = configuration(&held(None, None), Some(&bundle), None, RELAY, now);
    assert_eq!(reason(&requested), None);
    let without_bundle = configuration(&held(Some(authority.node()), None), None, None, RELAY, now);
    assert_eq!(reason(&without_bundle), Some("CertificateNotIssued"));
    // keep_valid drops a certificate that has expired.
    let dropped = configuration(&held(None, None), Some(&bundle), Some(now), RELAY, now + SignedDuration::from_secs(1));
    assert_eq!(reason(&dropped), Some("CertificateExpired"));
}

#[tokio::test]
async fn configuration_follows_certificate_and_bundle() {
    let authority = TestAuthority::new();
    let (state_sender, state) = watch::channel(CertificateState::default());
    let (bundle_sender, bundle) = watch::channel(None);
    let (config_sender, mut config) = watch::channel(None);
    let (problem_sender, problem) = watch::channel(None);
    let following = tokio::spawn(follow(state, bundle, RELAY.into(), config_sender, problem_sender));
    let mut next = async || {
        config.changed().await.unwrap();
        config.borrow_and_update().clone()
    };
    assert!(next().await.is_none());
    state_sender.send_replace(held(Some(authority.node()), None));
    assert!(next().await.is_none());
    assert!(matches!(&*problem.borrow(), Some(Problem::CertificateNotIssued { .. })));
    bundle_sender.send_replace(Some(Arc::new(authority.bundle())));
    let first = next().await.unwrap();
    assert_eq!(*problem.borrow(), None);
    state_sender.send_replace(held(Some(authority.node()), None));
    assert!(!Arc::ptr_eq(&first, &next().await.unwrap()));
    following.abort();
}
