//! Decodes records of hooks: the header, the values, and an event for each selector that won. A workload influences most of
//! the bytes, and the kernel may write while a value changes: every offset and length is checked, no text is trusted.

mod buffer;
mod record;
mod stack;
#[cfg(test)]
mod tests;
mod value;

pub(super) use self::{record::decode_record, stack::Symbols};
