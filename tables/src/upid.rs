//! Pixie's key of a process: agent, pid and start time in 128 bits.

use std::fmt;

/// A process on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Upid {
    /// Number of the agent; 0 where it is not known, as in a worker.
    pub asid: u32,
    /// Thread group id in the initial pid namespace.
    pub pid: u32,
    /// Start time of the process image, boot clock.
    pub start: u64,
}

impl Upid {
    /// The 16 bytes of the column `upid`, which sort as the number does.
    pub fn to_bytes(self) -> [u8; 16] {
        u128::from(self).to_be_bytes()
    }

    /// From the bytes of a column.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let number = u128::from_be_bytes(bytes);
        Self { asid: (number >> 96) as u32, pid: (number >> 64) as u32, start: number as u64 }
    }
}

impl From<Upid> for u128 {
    fn from(upid: Upid) -> Self {
        Self::from(upid.asid) << 96 | Self::from(upid.pid) << 64 | Self::from(upid.start)
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.asid, self.pid, self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_their_places_in_the_number() {
        let upid = Upid { asid: 7, pid: 4321, start: 99 };
        assert_eq!(u128::from(upid), (7u128 << 32 | 4321) << 64 | 99);
        assert_eq!(Upid::from_bytes(upid.to_bytes()), upid);
        assert_eq!(upid.to_string(), "7:4321:99");
    }
}
