//! A year of rotations, and what a certificate says.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateSigningRequestParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use trilobite_crds::read_api::Signer;
use x509_parser::{extensions::GeneralName, pem::Pem};

use super::{
    LeafRequest, StoredAuthority, issue, rotate,
    stored::{CLOCK_SKEW, LIFE},
};

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn new_authority(now: Timestamp) -> StoredAuthority {
    rotate(None, now).unwrap().unwrap()
}

fn leaf(signer: Signer) -> LeafRequest {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    let request = CertificateSigningRequestParams::from_der(request.der()).unwrap();
    LeafRequest {
        signer,
        public_key: request.public_key,
        dns_names: signer.dns_names("reef-1", "ink-system"),
        life: DAY,
        uid: "uid-of-a-request".into(),
    }
}

/// Subject of the issuer of a certificate, and whether a certificate of the bundle has signed it.
fn is_trusted(leaf: &str, bundle: &str) -> bool {
    let pems: Vec<Pem> = Pem::iter_from_buffer(leaf.as_bytes()).map(Result::unwrap).collect();
    let leaf = pems[0].parse_x509().unwrap();
    let trusted: Vec<Pem> = Pem::iter_from_buffer(bundle.as_bytes()).map(Result::unwrap).collect();
    trusted.iter().any(|pem| {
        let ca = pem.parse_x509().unwrap();
        ca.subject() == leaf.issuer() && leaf.verify_signature(Some(ca.public_key())).is_ok()
    })
}

#[test]
fn secret_is_read_back_as_it_was_written() {
    let mut authority = new_authority(start());
    authority.next = Some(new_authority(start() + DAY).current);
    authority.previous = vec![new_authority(start() - DAY).current.certificate];
    let read = StoredAuthority::read(&authority.write()).unwrap();
    assert_eq!(read.bundle(), authority.bundle());
    assert_eq!(read.write(), authority.write());
    assert_eq!(read.bundle().matches("BEGIN CERTIFICATE").count(), 3);
    assert!(!read.bundle().contains("PRIVATE KEY") && !format!("{read:?}").contains("PRIVATE KEY"));
}

#[test]
fn damaged_secret_is_not_used() {
    let mut data = new_authority(start()).write();
    let other = new_authority(start()).write();
    data.insert("tls.key".into(), other["tls.key"].clone());
    assert!(StoredAuthority::read(&data).unwrap_err().to_string().contains("do not belong together"));
    data.remove("tls.key");
    assert!(StoredAuthority::read(&data).unwrap_err().to_string().contains("no tls.key"));
    data.insert("tls.crt".into(), k8s_openapi::ByteString(b"none".to_vec()));
    assert!(StoredAuthority::read(&data).is_err());
}

#[test]
fn young_authority_is_kept() {
    let authority = new_authority(start());
    for days in [0, 1, 240] {
        assert!(rotate(Some(&authority), start() + DAY * days).unwrap().is_none(), "after {days} days");
    }
}

#[test]
fn authority_that_has_expired_is_replaced_at_once() {
    let authority = new_authority(start());
    let replaced = rotate(Some(&authority), start() + LIFE).unwrap().unwrap();
    assert_ne!(replaced.bundle(), authority.bundle());
    assert_eq!(replaced.bundle().matches("BEGIN CERTIFICATE").count(), 1);
    // A clock that was set back far makes a certificate that is not valid yet.
    assert!(rotate(Some(&authority), start() - DAY).unwrap().is_some());
}

/// Two years, a step of the operator every ten minutes: what was signed in the last day is trusted by every bundle of the
/// last ten minutes, and the other way round.
#[test]
fn every_certificate_is_trusted_by_every_bundle_of_its_day() {
    let step = SignedDuration::from_mins(10);
    let mut authority = new_authority(start());
    let mut issuers = BTreeSet::new();
    let (mut signed, mut before) = (Vec::<(Timestamp, String)>::new(), authority.bundle());
    let mut now = start();
    while now < start() + LIFE * 2 {
        if let Some(rotated) = rotate(Some(&authority), now).unwrap() {
            authority = rotated;
            let leaf = issue(authority.current(), leaf(Signer::NodeServing), now).unwrap();
            assert!(is_trusted(&leaf, &before), "a peer that has not read the new bundle yet, at {now}");
            signed.push((now, leaf));
        }
        signed.retain(|(at, _)| now.duration_since(*at) <= DAY);
        let bundle = authority.bundle();
        for (at, leaf) in &signed {
            assert!(is_trusted(leaf, &bundle), "signed at {at}, read at {now}");
        }
        issuers.insert(authority.current.certificate.pem.clone());
        assert!(bundle.matches("BEGIN CERTIFICATE").count() <= 3);
        (before, now) = (bundle, now + step);
    }
    assert_eq!(issuers.len(), 3, "replaced twice in two years");
}

#[test]
fn certificate_says_what_was_validated_and_nothing_else() {
    let authority = new_authority(start());
    for (signer, server, client) in
        [(Signer::NodeServing, true, false), (Signer::RelayClient, false, true), (Signer::RelayServing, true, false)]
    {
        let pem = issue(authority.current(), leaf(signer), start()).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        assert_eq!(certificate.subject().to_string(), format!("CN={}", signer.common_name()));
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert_eq!((usage.server_auth, usage.client_auth, usage.any), (server, client, false), "{signer:?}");
        assert!(!certificate.is_ca());
        let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
        let expected = signer.dns_names("reef-1", "ink-system");
        let expected: Vec<_> = expected.iter().map(|name| GeneralName::DNSName(name)).collect();
        assert_eq!(names, &expected);
        let (from, to) = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
        assert_eq!(from, (start() - CLOCK_SKEW).as_second());
        assert_eq!(to, (start() + DAY).as_second());
        assert!(is_trusted(
            &String::from_utf8(pem::encode(&pem::Pem::new("CERTIFICATE", pem.contents.clone())).into_bytes()).unwrap(),
            &authority.bundle()
        ));
    }
}

#[test]
fn certificate_does_not_outlive_its_authority() {
    let authority = new_authority(start());
    let late = start() + LIFE - SignedDuration::from_hours(1);
    let pem = issue(authority.current(), leaf(Signer::RelayClient), late).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    assert_eq!(pem.parse_x509().unwrap().validity().not_after.timestamp(), (start() + LIFE).as_second());
}

#[test]
fn each_request_gets_a_serial_number_of_its_own() {
    let authority = new_authority(start());
    let serial = |uid: &str| {
        let leaf = LeafRequest { uid: uid.into(), ..leaf(Signer::NodeServing) };
        let pem = issue(authority.current(), leaf, start()).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        pem.parse_x509().unwrap().raw_serial().to_vec()
    };
    assert_eq!(serial("one"), serial("one"));
    assert_ne!(serial("one"), serial("two"));
}
