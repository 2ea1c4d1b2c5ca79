//! An Event on the namespace where its label makes nothing: once, not at each reconcile.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::{Namespace, ObjectReference};
use kube::{
    ResourceExt as _,
    core::PartialObjectMeta,
    runtime::events::{Event, EventType},
};
use trilobite_crds::Reason;

use super::{
    LABEL, NAME,
    validate::{KNOWN, Valid},
};
use crate::{context::Context, status::words};

/// What was last said about each namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<Mutex<BTreeMap<String, String>>>);

impl Told {
    /// Whether this is news.
    fn is_news(&self, namespace: &str, note: Option<&str>) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match note {
            Some(note) => told.insert(namespace.into(), note.into()).as_deref() != Some(note),
            None => {
                told.remove(namespace);
                false
            }
        }
    }
}

pub(super) async fn report(namespace: &PartialObjectMeta<Namespace>, valid: &Valid, told: &Told, context: &Context) {
    let name = namespace.name_any();
    let said = match valid {
        Valid::NotAsked | Valid::Cpu { .. } => None,
        Valid::Unknown { word } => Some((Reason::InvalidSpec, words::unknown_label(LABEL, word, &KNOWN))),
        Valid::Conflict => Some((Reason::Conflict, words::label_conflict(NAME))),
    };
    if !told.is_news(&name, said.as_ref().map(|(_, note)| note.as_str())) {
        return;
    }
    let Some((reason, note)) = said else { return };
    let event = Event {
        type_: EventType::Warning,
        reason: reason.as_str().into(),
        note: Some(note),
        action: "Validating".into(),
        secondary: None,
    };
    let reference = ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Namespace".into()),
        uid: namespace.uid(),
        // So that it is found beside the namespace's other Events, and by whoever may read only there.
        namespace: Some(name.clone()),
        name: Some(name.clone()),
        ..ObjectReference::default()
    };
    if let Err(error) = context.recorder.publish(&event, &reference).await {
        tracing::warn!(namespace = name, %error, "publishing an Event");
    }
}
