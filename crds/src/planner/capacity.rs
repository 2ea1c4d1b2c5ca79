//! The limits of a NodeProfile, and how much of them is left while it is planned. A third is kept for cluster-wide
//! policies, so that namespaces cannot use up what the cluster's own policies need.

use crate::node::PartRef;

/// Most parts of a profile.
pub const MAX_PARTS: usize = 2048;
/// Most bytes of a profile's JSON.
pub const MAX_PROFILE_BYTES: usize = 256 << 10;
/// Most parts that policies of namespaces may have of them.
pub const MAX_NAMESPACED_PARTS: usize = MAX_PARTS * 2 / 3;
/// Most bytes that they may have.
pub const MAX_NAMESPACED_BYTES: usize = MAX_PROFILE_BYTES * 2 / 3;

/// Parts and bytes that a profile has so far.
pub(super) struct ProfileCapacity {
    whole: Share,
    /// What policies of namespaces have.
    namespaced: Share,
}

/// Parts and bytes up to a limit. Once a part did not fit, no newer one does, so that age alone decides.
struct Share {
    parts: usize,
    bytes: usize,
    limit: (usize, usize),
    full: bool,
}

/// The profile cannot hold another part.
pub(super) struct ProfileFull {
    /// Parts so far.
    pub(super) parts: usize,
    /// Bytes so far.
    pub(super) bytes: usize,
    /// Most parts and bytes.
    pub(super) limit: (usize, usize),
}

impl ProfileCapacity {
    /// The capacity of a profile that has `parts` parts and `bytes` bytes of JSON.
    pub(super) fn new(parts: usize, bytes: usize) -> Self {
        Self {
            whole: Share { parts, bytes, limit: (MAX_PARTS, MAX_PROFILE_BYTES), full: false },
            namespaced: Share { parts: 0, bytes: 0, limit: (MAX_NAMESPACED_PARTS, MAX_NAMESPACED_BYTES), full: false },
        }
    }

    /// Reserves room for `part`, which is of a cluster-wide policy or of one of a namespace.
    pub(super) fn reserve(&mut self, part: &PartRef, is_namespaced: bool) -> Result<(), ProfileFull> {
        let bytes = json_bytes(part) + 1;
        if is_namespaced {
            self.namespaced.check(bytes)?;
        }
        self.whole.check(bytes)?;
        self.whole.add(bytes);
        if is_namespaced {
            self.namespaced.add(bytes);
        }
        Ok(())
    }
}

impl Share {
    fn check(&mut self, bytes: usize) -> Result<(), ProfileFull> {
        self.full |= self.parts + 1 > self.limit.0 || self.bytes + bytes > self.limit.1;
        if self.full {
            return Err(ProfileFull { parts: self.parts, bytes: self.bytes, limit: self.limit });
        }
        Ok(())
    }

    fn add(&mut self, bytes: usize) {
        self.parts += 1;
        self.bytes += bytes;
    }
}

/// Bytes of the JSON of `value`.
pub(super) fn json_bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX / 2, |json| json.len())
}
