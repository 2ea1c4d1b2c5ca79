//! Which fields of its events a reader of GetEvents wants. Works on encoded messages, below the event's own member:
//! `node_name`, `time` and the like always stay. A path that no event has is refused by name.

use prost::Message;
use tonic::Status;

use crate::serve::{
    proto::tetragon::{self as api, EventType, FieldFilterAction},
    protojson::{
        Printed,
        mask::{Mask, append, child, filtered, resolve},
        schema,
        wire::{Fields, Value},
    },
};

/// The field filters of a request, in its order.
pub(super) struct FieldFilters(Vec<FieldFilter>);

struct FieldFilter {
    exclude: bool,
    events: Vec<i32>,
    all_but: bool,
    /// By the number of the event's member.
    masks: Vec<(u32, Mask)>,
}

impl FieldFilters {
    pub(super) fn new(from: Vec<api::FieldFilter>) -> Result<Self, Box<Status>> {
        let numbered = from.into_iter().enumerate();
        let filters = numbered.map(|(at, filter)| FieldFilter::new(filter, &format!("field_filters[{at}]")));
        // A filter without paths changes nothing.
        Ok(Self(filters.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()))
    }

    /// The event with the fields that are wanted.
    pub(super) fn apply(&self, event: api::GetEventsResponse) -> api::GetEventsResponse {
        if self.0.is_empty() {
            return event;
        }
        let mut encoded = event.encode_to_vec();
        for filter in &self.0 {
            encoded = filter.apply(&encoded);
        }
        api::GetEventsResponse::decode(&*encoded).unwrap_or(event)
    }
}

impl FieldFilter {
    fn new(from: api::FieldFilter, path: &str) -> Result<Option<Self>, Box<Status>> {
        let api::FieldFilter { event_set: events, fields, action, invert_event_set } = from;
        let refuse = |what: String| Box::new(Status::invalid_argument(format!("{path}.{what}")));
        let exclude = match FieldFilterAction::try_from(action) {
            Ok(action) => action == FieldFilterAction::Exclude,
            Err(_) => return Err(refuse(format!("action: there is no action {action}"))),
        };
        let mut masks: Vec<(u32, Mask)> = Vec::new();
        let paths = fields.unwrap_or_default().paths;
        for wanted in &paths {
            let mut known = false;
            for (number, message) in members() {
                let Some(steps) = resolve(message, wanted) else { continue };
                known = true;
                child(&mut masks, number).add(&steps);
            }
            if !known {
                return Err(refuse(format!("fields: no event has a field {wanted}")));
            }
        }
        let all_but = invert_event_set.unwrap_or_default();
        Ok((!paths.is_empty()).then_some(Self { exclude, events, all_but, masks }))
    }

    fn applies_to(&self, member: u32) -> bool {
        let listed = self.events.iter().any(|event| event.cast_unsigned() == member);
        self.events.is_empty() || listed != self.all_but
    }

    fn apply(&self, encoded: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(encoded.len());
        for (number, value) in Fields(encoded) {
            let is_event = EventType::try_from(number.cast_signed()).is_ok();
            if is_event && self.applies_to(number) {
                let mask = self.masks.iter().find(|(of, _)| *of == number).map(|(_, mask)| mask);
                let kept = filtered(value.bytes(), mask.unwrap_or(&Mask::default()), self.exclude);
                append(number, Value::Bytes(&kept), &mut out);
            } else {
                append(number, value, &mut out);
            }
        }
        out
    }
}

/// The events that a response can hold: the member's number, and its message's place in the table.
fn members() -> impl Iterator<Item = (u32, u16)> {
    schema::fields(api::GetEventsResponse::INDEX).iter().filter_map(|field| match field.kind {
        schema::Kind::Message(message) if EventType::try_from(field.number.cast_signed()).is_ok() => {
            Some((field.number, message))
        }
        _ => None,
    })
}
