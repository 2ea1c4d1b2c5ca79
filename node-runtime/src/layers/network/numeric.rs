//! Numbers for identities: the same on every node without asking anybody, because they are made from the labels alone.

/// What is no pod, by the numbers that Hubble's clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reserved {
    /// This node.
    Host = 1,
    /// Outside the cluster.
    World = 2,
    /// Another node.
    RemoteNode = 6,
    /// The API server.
    KubeApiserver = 7,
}

/// The first number that a label set may have.
const FIRST: u32 = 256;

impl Reserved {
    /// Behind `reserved:` in a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::World => "world",
            Self::RemoteNode => "remote-node",
            Self::KubeApiserver => "kube-apiserver",
        }
    }
}

/// The number of a sorted label set: FNV-1a, folded to what is not reserved. Two sets share a number once in four
/// thousand million pairs; clients then draw them as one card.
pub fn of_labels(labels: &[String]) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for label in labels {
        // A byte that no label has ends each, so that "ab","c" and "a","bc" differ.
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
    fn a_number_never_changes_between_versions() {
        assert_eq!(of_labels(&["k8s:app=cart".into(), "k8s:tier=web".into()]), 1_030_704_727);
    }

    #[test]
    fn where_a_label_ends_matters() {
        assert_ne!(of_labels(&["ab".into(), "c".into()]), of_labels(&["a".into(), "bc".into()]));
    }
}
