//! What is wrong with a policy, and where.

use crate::reason::Reason;

/// Most faults of one policy that are listed, since a policy may have as many unknown fields as an object holds.
pub const MOST_LISTED: usize = 20;

/// Something that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `InvalidSpec`, or `Unsupported` for what Tetragon has and this version does not.
    pub reason: Reason,
    /// Path of the field, e.g. `spec.kprobes[0].call`.
    pub field: String,
    /// Field, what is wrong, what to do.
    pub message: String,
}

/// The faults of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The first ones; at most `MOST_LISTED`.
    pub listed: Vec<Fault>,
    /// Number of the others.
    pub unlisted: u32,
}

impl Faults {
    /// Lists a fault up to the limit, and counts the others without making them.
    pub(super) fn add(&mut self, make: impl FnOnce() -> Fault) {
        if self.listed.len() < MOST_LISTED {
            self.listed.push(make());
        } else {
            self.unlisted += 1;
        }
    }

    /// A field, and what is wrong with it: `field: message`.
    pub(super) fn invalid(&mut self, field: &str, message: impl FnOnce() -> String) {
        self.add(|| Fault {
            reason: Reason::InvalidSpec,
            field: field.into(),
            message: format!("{field}: {}", message()),
        });
    }

    /// A field that Tetragon has and this version does not support.
    pub(super) fn unsupported(&mut self, field: &str) {
        self.add(|| Fault {
            reason: Reason::Unsupported,
            field: field.into(),
            message: format!("{field} is not supported yet; remove it"),
        });
    }

    /// A value that Tetragon has and this version does not support.
    pub(super) fn unsupported_value(&mut self, field: &str, value: &str, instead: &str) {
        self.add(|| Fault {
            reason: Reason::Unsupported,
            field: field.into(),
            message: format!("{field}: {value} is not supported yet; {instead}"),
        });
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }
}
