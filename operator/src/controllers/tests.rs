//! What all controllers have in common.

use kube::core::DeserializeGuard;
use trilobite_crds::{FlowCapture, Reason};

use super::{chain, unreadable};
use crate::{status::Wanted, watch::readable};

#[test]
fn an_object_that_cannot_be_read_breaks_nothing_and_is_told_so_in_its_status() {
    let stored = serde_json::json!({
        "apiVersion": "trilobite.dev/v1alpha1", "kind": "FlowCapture",
        "metadata": {"name": "ink", "namespace": "payments", "generation": 2, "uid": "uid-of-ink"},
        "spec": {"podSelector": {}, "durationSeconds": "soon"},
    });
    let guarded: DeserializeGuard<FlowCapture> = serde_json::from_value(stored).unwrap();
    let asked = unreadable::<FlowCapture>(readable(&guarded).unwrap_err());
    assert_eq!(asked.source.to_string(), "FlowCapture/payments/ink");
    assert_eq!((asked.source.generation, asked.uid.as_str()), (2, "uid-of-ink"));
    assert_eq!(asked.refusals[0].reason, Reason::InvalidSpec);
    assert!(asked.refusals[0].message.starts_with("cannot be read: "), "{}", asked.refusals[0].message);
    assert_eq!(asked.wanted, Wanted::Nothing);
}

#[derive(Debug, thiserror::Error)]
#[error("applying DaemonSet trilobite-node")]
struct Outer(#[source] std::fmt::Error);

#[test]
fn an_error_is_told_with_its_cause() {
    assert!(chain(&Outer(std::fmt::Error)).starts_with("applying DaemonSet trilobite-node: "));
}
