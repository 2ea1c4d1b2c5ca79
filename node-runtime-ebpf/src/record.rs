//! Reads the header that every record begins with.

use zerocopy::{FromBytes, IntoBytes, TryFromBytes};

use crate::{FlowDirection, FlowReason, RECORD_LAYOUT, Record, RecordKind};

impl Record {
    /// The header at the start of a record; none if it is of another layout, or if the record is cut.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (header, _) = Self::read_from_prefix(bytes).ok()?;
        (header.layout == RECORD_LAYOUT && header.size as usize <= bytes.len()).then_some(header)
    }

    /// Which type of record follows; none for a number that the C headers do not have.
    pub fn kind(&self) -> Option<RecordKind> {
        RecordKind::try_read_from_bytes(self.kind.as_bytes()).ok()
    }
}

impl FlowDirection {
    /// By its number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::try_read_from_bytes(&[number]).ok()
    }
}

impl FlowReason {
    /// By its number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::try_read_from_bytes(&[number]).ok()
    }
}
