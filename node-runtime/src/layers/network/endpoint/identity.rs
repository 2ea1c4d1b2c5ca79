//! Numeric identities of endpoints. They are made from the labels alone, so that all nodes agree without asking anyone.

/// Endpoints that are not pods, by the numbers that Hubble's clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reserved {
    /// An address of the cluster that no pod, node or Service has, or an owner that is not listed yet.
    Unknown = 0,
    /// This node.
    Host = 1,
    /// Outside the cluster.
    World = 2,
    RemoteNode = 6,
    KubeApiserver = 7,
}

/// The first number that a label set may have.
const FIRST: u32 = 256;

impl Reserved {
    /// The part behind `reserved:` in a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Host => "host",
            Self::World => "world",
            Self::RemoteNode => "remote-node",
            Self::KubeApiserver => "kube-apiserver",
        }
    }

    /// Whether an identity is one of these, and not of a label set.
    pub fn is_reserved(identity: u32) -> bool {
        identity < FIRST
    }
}

/// The number of a sorted label set: FNV-1a, folded to the range that is not reserved. Two sets collide once in four
/// thousand million pairs; clients then draw them as one card.
pub fn from_labels(labels: &[String]) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for label in labels {
        // Each label ends with a byte that no label contains, so that "ab","c" and "a","bc" differ.
        for byte in label.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    let folded = hash ^ (hash >> 32);
    FIRST + u32::try_from(folded % u64::from(u32::MAX - FIRST)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_of_labels_never_changes_between_versions() {
        assert_eq!(from_labels(&["k8s:app=cart".into(), "k8s:tier=web".into()]), 1_030_704_727);
    }

    #[test]
    fn label_boundaries_change_the_identity() {
        assert_ne!(from_labels(&["ab".into(), "c".into()]), from_labels(&["a".into(), "bc".into()]));
    }
}
