//! An Event on the namespace if its label is wrong: once, not at each reconcile.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{Namespace, ObjectReference};
use kube::{
    ResourceExt as _,
    core::PartialObjectMeta,
    runtime::events::{Event, EventType},
};
use parking_lot::Mutex;
use trilobite_crds::Reason;

use super::validate::ValidatedLabel;
use crate::{
    context::Context,
    labels::{APP_PROFILE_FROM_LABEL, APP_PROFILE_LABEL},
    status::messages,
};

/// The note of the last Event, by namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct PublishedNotes(Arc<Mutex<BTreeMap<String, String>>>);

impl PublishedNotes {
    /// Records the note; returns whether it has to be published.
    fn record(&self, namespace: &str, note: Option<&str>) -> bool {
        let mut notes = self.0.lock();
        match note {
            Some(note) => notes.insert(namespace.into(), note.into()).as_deref() != Some(note),
            None => {
                notes.remove(namespace);
                false
            }
        }
    }
}

pub(super) async fn update_status(
    namespace: &PartialObjectMeta<Namespace>,
    validated: &ValidatedLabel,
    published: &PublishedNotes,
    context: &Context,
) {
    let name = namespace.name_any();
    let problem = match validated {
        ValidatedLabel::Absent | ValidatedLabel::Requested(_) => None,
        ValidatedLabel::Unsupported(wrong) => {
            Some((wrong.reason(), messages::unsupported_label(APP_PROFILE_LABEL, &wrong.to_string())))
        }
        ValidatedLabel::Conflict => Some((Reason::Conflict, messages::label_conflict(APP_PROFILE_FROM_LABEL))),
    };
    if !published.record(&name, problem.as_ref().map(|(_, note)| note.as_str())) {
        return;
    }
    let Some((reason, note)) = problem else { return };
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
        // Puts the Event into the namespace itself, where a tenant may read it, and not into `default`.
        namespace: Some(name.clone()),
        name: Some(name.clone()),
        ..ObjectReference::default()
    };
    if let Err(error) = context.recorder.publish(&event, &reference).await {
        tracing::warn!(namespace = name, %error, "publishing an Event failed");
    }
}
