//! The values of a series' labels as one run of bytes: looked up without an allocation.

use std::{fmt::Display, io::Write};

/// No byte of a text: it stands behind each value.
const SEPARATOR: u8 = 0xff;

#[derive(Debug, Default)]
pub(super) struct LabelValues {
    bytes: Vec<u8>,
    /// Where the value that is being written begins.
    begin: usize,
}

impl LabelValues {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.begin = 0;
    }

    /// Appends to the present value.
    pub(super) fn write(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// As `write`.
    pub(super) fn write_display(&mut self, value: impl Display) {
        // Writing to a Vec cannot fail.
        let _ = write!(self.bytes, "{value}");
    }

    /// Whether nothing was written to the present value.
    pub(super) fn is_value_empty(&self) -> bool {
        self.bytes.len() == self.begin
    }

    /// The next value begins.
    pub(super) fn end_value(&mut self) {
        self.bytes.push(SEPARATOR);
        self.begin = self.bytes.len();
    }

    /// A whole value.
    pub(super) fn push(&mut self, value: &str) {
        self.write(value);
        self.end_value();
    }

    /// As `push`.
    pub(super) fn push_display(&mut self, value: impl Display) {
        self.write_display(value);
        self.end_value();
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The values of a key in their order.
pub(super) fn values(key: &[u8]) -> impl Iterator<Item = &str> {
    let ended = key.strip_suffix(&[SEPARATOR]);
    let parts = ended.into_iter().flat_map(|key| key.split(|byte| *byte == SEPARATOR));
    // Only whole texts were written.
    parts.map(|value| std::str::from_utf8(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_back_empty_ones_too() {
        let mut written = LabelValues::default();
        written.push("ä");
        written.push("");
        assert!(written.is_value_empty());
        written.write("x");
        assert!(!written.is_value_empty());
        written.write_display(7);
        written.end_value();
        assert_eq!(values(written.as_bytes()).collect::<Vec<_>>(), ["ä", "", "x7"]);
        written.clear();
        assert_eq!(values(written.as_bytes()).count(), 0);
        written.push("");
        assert_eq!(values(written.as_bytes()).collect::<Vec<_>>(), [""]);
    }
}
