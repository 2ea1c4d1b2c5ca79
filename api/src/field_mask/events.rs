//! The field filters of GetEvents. They apply below the event's own member: `node_name`, `time` and the like always
//! stay.

use prost::Message;

use super::mask::{FieldMask, InvalidMask, child, resolve};
use crate::{
    json::{
        JsonMessage, table,
        wire::{Fields, Value, append_field},
    },
    tetragon::{EventType, FieldFilter, FieldFilterAction, GetEventsResponse},
};

/// The field filters of a request, in its order.
pub struct EventFieldFilters(Vec<Filter>);

struct Filter {
    exclude: bool,
    events: Vec<i32>,
    invert_events: bool,
    /// By the number of the event's member.
    masks: Vec<(u32, FieldMask)>,
}

impl EventFieldFilters {
    /// Refuses an unknown action, and a path that no event has.
    pub fn new(filters: Vec<FieldFilter>) -> Result<Self, InvalidMask> {
        let numbered = filters.into_iter().enumerate();
        let filters = numbered.map(|(at, filter)| Filter::new(filter, &format!("field_filters[{at}]")));
        // A filter without paths changes nothing.
        Ok(Self(filters.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()))
    }

    /// The event with the fields that the client asked for.
    pub fn apply(&self, event: GetEventsResponse) -> GetEventsResponse {
        if self.0.is_empty() {
            return event;
        }
        let mut encoded = event.encode_to_vec();
        for filter in &self.0 {
            encoded = filter.apply(&encoded);
        }
        GetEventsResponse::decode(&*encoded).unwrap_or(event)
    }
}

impl Filter {
    fn new(filter: FieldFilter, path: &str) -> Result<Option<Self>, InvalidMask> {
        let FieldFilter { event_set: events, fields, action, invert_event_set } = filter;
        let exclude = match FieldFilterAction::try_from(action) {
            Ok(action) => action == FieldFilterAction::Exclude,
            Err(_) => return Err(InvalidMask(format!("{path}.action: there is no action {action}"))),
        };
        let mut masks: Vec<(u32, FieldMask)> = Vec::new();
        let paths = fields.unwrap_or_default().paths;
        for wanted in &paths {
            let mut is_known = false;
            for (number, message) in event_members() {
                let Some(numbers) = resolve(message, wanted) else { continue };
                is_known = true;
                child(&mut masks, number).add(&numbers);
            }
            if !is_known {
                return Err(InvalidMask(format!("{path}.fields: no event has a field {wanted}")));
            }
        }
        let invert_events = invert_event_set.unwrap_or_default();
        Ok((!paths.is_empty()).then_some(Self { exclude, events, invert_events, masks }))
    }

    fn applies_to(&self, member: u32) -> bool {
        let is_listed = self.events.iter().any(|event| event.cast_unsigned() == member);
        self.events.is_empty() || is_listed != self.invert_events
    }

    fn apply(&self, encoded: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(encoded.len());
        for (number, value) in Fields(encoded) {
            if is_event(number) && self.applies_to(number) {
                let mask = self.masks.iter().find(|(member, _)| *member == number).map(|(_, mask)| mask);
                let kept = mask.unwrap_or(&FieldMask::default()).apply(value.bytes(), self.exclude);
                append_field(number, Value::Bytes(&kept), &mut out);
            } else {
                append_field(number, value, &mut out);
            }
        }
        out
    }
}

/// The events that a response can hold: the member's number, and the index of its message.
fn event_members() -> impl Iterator<Item = (u32, u16)> {
    table::fields(GetEventsResponse::MESSAGE).iter().filter_map(|field| match field.kind {
        table::Kind::Message(message) if is_event(field.number) => Some((field.number, message)),
        _ => None,
    })
}

/// Members of the response and event types have the same numbers.
fn is_event(number: u32) -> bool {
    EventType::try_from(number.cast_signed()).is_ok()
}
