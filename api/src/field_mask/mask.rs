//! A field mask as a tree of field numbers, applied to encoded messages.

use crate::json::{
    table,
    wire::{Fields, Value, append_field},
};

/// A request's mask that cannot be applied; the message names the field of the request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidMask(pub(super) String);

/// Paths as a tree of field numbers.
#[derive(Default)]
pub(super) struct FieldMask {
    /// A path ends here: the field is named with all that is in it.
    is_whole: bool,
    below: Vec<(u32, FieldMask)>,
}

impl FieldMask {
    pub(super) fn add(&mut self, path: &[u32]) {
        match path.split_first() {
            None => self.is_whole = true,
            Some((number, rest)) => child(&mut self.below, *number).add(rest),
        }
    }

    /// The fields that the mask names, or with `exclude` all but those.
    pub(super) fn apply(&self, encoded: &[u8], exclude: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(encoded.len());
        for (number, value) in Fields(encoded) {
            match self.below.iter().find(|(named, _)| *named == number).map(|(_, mask)| mask) {
                Some(below) if !below.is_whole => {
                    append_field(number, Value::Bytes(&below.apply(value.bytes(), exclude)), &mut out);
                }
                named => {
                    if named.is_some() != exclude {
                        append_field(number, value, &mut out);
                    }
                }
            }
        }
        out
    }
}

/// The mask of one field, added if it is missing.
pub(super) fn child(masks: &mut Vec<(u32, FieldMask)>, number: u32) -> &mut FieldMask {
    let at = masks.iter().position(|(known, _)| *known == number).unwrap_or_else(|| {
        masks.push((number, FieldMask::default()));
        masks.len() - 1
    });
    &mut masks[at].1
}

/// The numbers of the fields along a path; none where the message has no such path.
pub(super) fn resolve(message: u16, path: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    let mut within = Some(message);
    for segment in path.split('.') {
        let (number, inner) = table::field(within?, segment)?;
        numbers.push(number);
        within = inner;
    }
    Some(numbers)
}
