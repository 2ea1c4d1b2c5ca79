//! The limits of a NodeProfile, and how much of them is left while it is planned.

use crate::node::PartRef;

/// Most parts of a profile.
pub const MAX_PARTS: usize = 512;
/// Most bytes of a profile's JSON.
pub const MAX_PROFILE_BYTES: usize = 64 << 10;

/// Parts and bytes that a profile has so far. Once a part did not fit, no newer one does, so that age alone decides.
pub(super) struct ProfileCapacity {
    parts: usize,
    bytes: usize,
    full: bool,
}

/// The profile cannot hold another part.
pub(super) struct ProfileFull {
    /// Parts so far.
    pub(super) parts: usize,
    /// Bytes so far.
    pub(super) bytes: usize,
}

impl ProfileCapacity {
    /// The capacity of a profile that has `parts` parts and `bytes` bytes of JSON.
    pub(super) fn new(parts: usize, bytes: usize) -> Self {
        Self { parts, bytes, full: false }
    }

    /// Reserves room for `part`.
    pub(super) fn reserve(&mut self, part: &PartRef) -> Result<(), ProfileFull> {
        let bytes = json_bytes(part) + 1;
        self.full |= self.parts + 1 > MAX_PARTS || self.bytes + bytes > MAX_PROFILE_BYTES;
        if self.full {
            return Err(ProfileFull { parts: self.parts, bytes: self.bytes });
        }
        self.parts += 1;
        self.bytes += bytes;
        Ok(())
    }
}

/// Bytes of the JSON of `value`.
pub(super) fn json_bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX / 2, |json| json.len())
}
