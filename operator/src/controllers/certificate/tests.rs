//! Tricks by which a sender could get a certificate that is not its own, each a small change of a request that is signed.

use std::collections::BTreeMap;

use clap::Parser as _;
use k8s_openapi::{ByteString, api::certificates::v1::CertificateSigningRequest};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType, SignatureAlgorithm,
};
use serde_json::json;
use trilobite_crds::read_api::{EXTRA_NODE_NAME, EXTRA_POD_NAME, EXTRA_POD_UID, RELAY, Signer};

use super::{claims::read_claims, dereference::DereferencedRequest, refusal::Refusal, validate::validate};
use crate::{args::Arguments, certificate_authority::LeafRequest};

const NAMESPACE: &str = "ink-system";
const DAY: i32 = 86_400;

/// A request, and what the API server has about its sender.
struct Fixture {
    signer: Signer,
    params: CertificateParams,
    algorithm: &'static SignatureAlgorithm,
    username: String,
    extra: BTreeMap<String, Vec<String>>,
    usages: Vec<&'static str>,
    seconds: Option<i32>,
    /// In place of what `params` makes.
    request: Option<Vec<u8>>,
    sender: DereferencedRequest,
}

/// A request that is signed.
fn fixture(signer: Signer) -> Fixture {
    let mut params = CertificateParams::new(signer.dns_names("reef-1", NAMESPACE)).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, signer.common_name());
    let extra = [(EXTRA_POD_NAME, "pod-1"), (EXTRA_POD_UID, "uid-of-pod-1"), (EXTRA_NODE_NAME, "reef-1")];
    let pod = json!({
        "metadata": {"name": "pod-1", "uid": "uid-of-pod-1"},
        "spec": {"nodeName": "reef-1", "serviceAccountName": signer.account(), "containers": []},
    });
    let node = json!({"metadata": {"name": "reef-1"}, "status": {"addresses": [
        {"type": "InternalIP", "address": "10.1.2.3"},
    ]}});
    Fixture {
        signer,
        params,
        algorithm: &PKCS_ECDSA_P256_SHA256,
        username: format!("system:serviceaccount:{NAMESPACE}:{}", signer.account()),
        extra: extra.map(|(key, value)| (key.to_owned(), vec![value.to_owned()])).into(),
        usages: signer.usages().into(),
        seconds: Some(DAY),
        request: None,
        sender: DereferencedRequest {
            pod: Some(serde_json::from_value(pod).unwrap()),
            owned_by_workload: true,
            node: Some(serde_json::from_value(node).unwrap()),
        },
    }
}

impl Fixture {
    fn decide(&self) -> Result<LeafRequest, Refusal> {
        let key = KeyPair::generate_for(self.algorithm).unwrap();
        let made = || self.params.serialize_request(&key).unwrap().pem().unwrap().into_bytes();
        let request = json!({
            "metadata": {"name": "request-1", "uid": "uid-of-request-1"},
            "spec": {
                "signerName": self.signer.name(), "username": self.username, "extra": self.extra,
                "usages": self.usages, "expirationSeconds": self.seconds,
                "request": ByteString(self.request.clone().unwrap_or_else(made)),
            },
        });
        let request: CertificateSigningRequest = serde_json::from_value(request).unwrap();
        let arguments = Arguments::parse_from(["trilobite-operator", "--namespace", NAMESPACE]);
        let claims = read_claims(&request, self.signer, &arguments)?;
        validate(&request, &claims, &self.sender, NAMESPACE)
    }

    fn edit_pod(&mut self, pointer: &str, value: serde_json::Value) {
        let mut pod = serde_json::to_value(&self.sender.pod).unwrap();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[field] = value;
        self.sender.pod = serde_json::from_value(pod).unwrap();
    }

    fn set_names(&mut self, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.params.subject_alt_names = CertificateParams::new(names).unwrap().subject_alt_names;
    }
}

#[test]
fn what_each_sender_may_have_is_granted() {
    for signer in Signer::ALL {
        let leaf = fixture(signer).decide().unwrap();
        assert_eq!(leaf.dns_names, signer.dns_names("reef-1", NAMESPACE));
        assert_eq!(leaf.life.as_secs(), i64::from(DAY));
    }
    let mut minimal = fixture(Signer::NodeServing);
    minimal.set_names(&[
        "reef-1.default.hubble-grpc.cilium.io",
        "reef-1.trilobite-node.ink-system.svc",
        "hubble-peer.default.hubble-grpc.cilium.io",
    ]);
    minimal.seconds = None;
    minimal.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    minimal.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    minimal.decide().unwrap();
}

type Trick = (&'static str, &'static str, Signer, fn(&mut Fixture));

const TRICKS: &[Trick] = &[
    ("another user", "WrongUser", Signer::NodeServing, |fixture| {
        fixture.username = "system:serviceaccount:shop:trilobite-node".into();
    }),
    ("a person who may create requests", "WrongUser", Signer::RelayClient, |fixture| fixture.username = "alice".into()),
    ("an agent asks for the relay's identity", "WrongUser", Signer::RelayClient, |fixture| {
        fixture.username = "system:serviceaccount:ink-system:trilobite-node".into();
    }),
    ("the relay asks for a node's certificate", "WrongUser", Signer::NodeServing, |fixture| {
        fixture.username = "system:serviceaccount:ink-system:trilobite-relay".into();
    }),
    ("a token that is bound to no pod", "NotFromPod", Signer::NodeServing, |fixture| fixture.extra.clear()),
    ("a token that names no node", "NotFromPod", Signer::NodeServing, |fixture| {
        _ = fixture.extra.remove(EXTRA_NODE_NAME)
    }),
    ("two nodes", "NotFromPod", Signer::NodeServing, |fixture| {
        fixture.extra.insert(EXTRA_NODE_NAME.into(), vec!["reef-1".into(), "reef-2".into()]);
    }),
    ("an empty pod", "NotFromPod", Signer::NodeServing, |fixture| {
        fixture.extra.insert(EXTRA_POD_UID.into(), vec![String::new()]);
    }),
    ("a pod that is gone", "PodNotFound", Signer::NodeServing, |fixture| fixture.sender.pod = None),
    ("a pod of the same name", "PodNotFound", Signer::NodeServing, |fixture| {
        fixture.edit_pod("/metadata/uid", "uid-of-another".into());
    }),
    ("a pod that is being deleted", "PodNotFound", Signer::NodeServing, |fixture| {
        fixture.edit_pod("/metadata/deletionTimestamp", "2026-03-01T12:00:00Z".into());
    }),
    ("a pod of another node", "WrongNode", Signer::NodeServing, |fixture| {
        fixture.edit_pod("/spec/nodeName", "reef-2".into());
    }),
    ("a pod without a node", "WrongNode", Signer::RelayClient, |fixture| {
        fixture.edit_pod("/spec/nodeName", serde_json::Value::Null);
    }),
    ("a pod of another DaemonSet", "WrongWorkload", Signer::NodeServing, |fixture| {
        fixture.sender.owned_by_workload = false;
    }),
    ("a pod that uses another account", "WrongWorkload", Signer::RelayServing, |fixture| {
        fixture.edit_pod("/spec/serviceAccountName", "default".into());
    }),
    ("a node that is gone", "NodeNotFound", Signer::NodeServing, |fixture| fixture.sender.node = None),
    ("another node's name", "WrongNames", Signer::NodeServing, |fixture| {
        fixture.set_names(&[
            "reef-2.trilobite-node.ink-system.svc",
            "reef-2.default.hubble-grpc.cilium.io",
            "hubble-peer.default.hubble-grpc.cilium.io",
        ]);
    }),
    ("one name too many", "WrongNames", Signer::NodeServing, |fixture| {
        fixture.params.subject_alt_names.push(SanType::DnsName("trilobite-relay".try_into().unwrap()));
    }),
    ("one name twice in place of both", "WrongNames", Signer::NodeServing, |fixture| {
        fixture.set_names(&["reef-1.trilobite-node.ink-system.svc", "reef-1.trilobite-node.ink-system.svc"]);
    }),
    ("a name that matches every node", "WrongNames", Signer::NodeServing, |fixture| {
        fixture.set_names(&[
            "*.trilobite-node.ink-system.svc",
            "*.default.hubble-grpc.cilium.io",
            "hubble-peer.default.hubble-grpc.cilium.io",
        ]);
    }),
    ("no name at all", "WrongNames", Signer::RelayClient, |fixture| fixture.set_names(&[])),
    ("the API server's name", "WrongNames", Signer::RelayServing, |fixture| {
        fixture.set_names(&["kubernetes.default.svc"]);
    }),
    ("the address of its node, which the kubelet may have made up", "WrongNames", Signer::NodeServing, |fixture| {
        fixture.params.subject_alt_names.push(SanType::IpAddress("10.1.2.3".parse().unwrap()));
    }),
    ("an address in place of a name", "WrongNames", Signer::NodeServing, |fixture| {
        fixture.params.subject_alt_names[1] = SanType::IpAddress("10.1.2.3".parse().unwrap());
    }),
    ("the relay asks for its node's address", "WrongNames", Signer::RelayServing, |fixture| {
        fixture.params.subject_alt_names.push(SanType::IpAddress("10.1.2.3".parse().unwrap()));
    }),
    ("a URI", "WrongNames", Signer::RelayClient, |fixture| {
        fixture.params.subject_alt_names.push(SanType::URI("spiffe://cluster/relay".try_into().unwrap()));
    }),
    ("the relay's common name", "WrongNames", Signer::NodeServing, |fixture| {
        fixture.params.distinguished_name.push(DnType::CommonName, RELAY);
    }),
    ("a group in the subject", "WrongNames", Signer::NodeServing, |fixture| {
        fixture.params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    }),
    ("no subject", "WrongNames", Signer::RelayClient, |fixture| {
        fixture.params.distinguished_name = DistinguishedName::new();
    }),
    ("a client's usage for a serving certificate", "WrongUsages", Signer::NodeServing, |fixture| {
        fixture.usages = vec!["digital signature", "client auth"];
    }),
    ("both usages", "WrongUsages", Signer::NodeServing, |fixture| fixture.usages.push("client auth")),
    ("one usage twice", "WrongUsages", Signer::NodeServing, |fixture| {
        fixture.usages = vec!["server auth", "server auth"]
    }),
    ("the other usage in the request itself", "WrongUsages", Signer::NodeServing, |fixture| {
        fixture.params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    }),
    ("to sign certificates", "WrongUsages", Signer::NodeServing, |fixture| {
        fixture.params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    }),
    ("to be a CA", "WrongUsages", Signer::RelayServing, |fixture| {
        fixture.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }),
    ("a year", "LifeTooLong", Signer::NodeServing, |fixture| fixture.seconds = Some(365 * DAY)),
    ("another kind of key", "MalformedRequest", Signer::NodeServing, |fixture| fixture.algorithm = &PKCS_ED25519),
    ("a larger key", "MalformedRequest", Signer::NodeServing, |fixture| fixture.algorithm = &PKCS_ECDSA_P384_SHA384),
    ("no request", "MalformedRequest", Signer::NodeServing, |fixture| fixture.request = Some(b"please".to_vec())),
    ("a request of megabytes", "MalformedRequest", Signer::NodeServing, |fixture| {
        fixture.request = Some(vec![b'A'; 1 << 20]);
    }),
    ("a request that was changed after it was signed", "MalformedRequest", Signer::NodeServing, |fixture| {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut der = fixture.params.serialize_request(&key).unwrap().der().to_vec();
        let name = b"reef-1.trilobite-node";
        let at = der.windows(name.len()).position(|bytes| bytes == name).unwrap();
        der[at + 5] = b'2';
        fixture.request = Some(pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der)).into_bytes());
    }),
];

#[test]
fn every_trick_is_refused_with_its_reason() {
    for (trick, reason, signer, play) in TRICKS {
        let mut fixture = fixture(*signer);
        play(&mut fixture);
        match fixture.decide() {
            Err(refusal) => assert_eq!(refusal.reason(), *reason, "{trick}: {refusal}"),
            Ok(_) => panic!("{trick}: it is signed"),
        }
    }
}

#[test]
fn each_reason_is_in_the_page_about_the_relay() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/why-is-the-relay-not-ready.md");
    let page = std::fs::read_to_string(page).unwrap();
    for (_, reason, ..) in TRICKS {
        assert!(page.contains(&format!("| `{reason}` |")), "{reason}");
    }
}

/// Whatever a workload with a stolen token sends, the parser does not panic, and no key gets a certificate but the one that has
/// signed the request. A few bits outside of what is signed may be anything.
mod bytes {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn changed_request_gets_nothing_else(flips in vec((0usize..700, any::<u8>()), 1..8)) {
            let mut fixture = fixture(Signer::NodeServing);
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
            let mut der = fixture.params.serialize_request(&key).unwrap().der().to_vec();
            let pem = |der: &[u8]| pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der)).into_bytes();
            fixture.request = Some(pem(&der));
            let granted = fixture.decide().unwrap();
            for (at, byte) in flips {
                if let Some(place) = der.get_mut(at) {
                    *place ^= byte;
                }
            }
            fixture.request = Some(pem(&der));
            if let Ok(leaf) = fixture.decide() {
                prop_assert_eq!(leaf, granted);
            }
        }
    }
}
