//! Refusals: every text of the planner for users.

use std::fmt;

use super::{
    budget::TooSmall,
    capacity::{MAX_PARTS, ProfileFull},
};
use crate::{
    app_profile::RequestProtocol,
    bounds::Violation,
    condition::{MAX_MESSAGE, cut},
    node::Source,
    reason::Reason,
    selector::SelectorError,
    stack::Layer,
};

/// Most characters of a field's path.
const MAX_FIELD: usize = 256;

/// Something that a resource asks for and that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The resource that asked.
    pub source: Source,
    /// Why it is refused.
    pub reason: Reason,
    /// Path of the field, e.g. `spec.tracepoints[0].event`; empty where the whole resource is meant.
    pub field: String,
    /// What is wrong, where, and what to do; at most 256 characters.
    pub message: String,
    /// Number of further refusals of the same resource that are not listed; set on the last listed one.
    pub unlisted: u32,
}

impl fmt::Display for Refusal {
    /// `Kind/name: Reason: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.source, self.reason, self.message)?;
        match self.unlisted {
            0 => Ok(()),
            more => write!(f, " (and {more} more)"),
        }
    }
}

impl Refusal {
    /// Makes a refusal with a message of the caller.
    pub fn new(source: &Source, reason: Reason, field: impl Into<String>, message: impl AsRef<str>) -> Self {
        // A key of a policy may be as long as the policy.
        let (field, message) = (cut(&field.into(), MAX_FIELD), cut(message.as_ref(), MAX_MESSAGE));
        Self { source: source.clone(), reason, field, message, unlisted: 0 }
    }

    /// A value that the field cannot have.
    pub fn invalid_value(source: &Source, field: String, value: &str, must: &str) -> Self {
        let message = format!("{field}: {value:?} must be {must}");
        Self::new(source, Reason::InvalidSpec, field, message)
    }

    /// A field outside the bounds of its type.
    pub fn violation(source: &Source, violation: &Violation) -> Self {
        Self::new(source, Reason::InvalidSpec, &violation.field, violation.to_string())
    }

    /// A budget that is too small for the layer.
    pub fn budget_too_small(source: &Source, layer: Layer, budget: i64, too_small: TooSmall) -> Self {
        let field = format!("{}.memoryBudgetBytes", layer.field());
        let message = format!("{field}: {budget} must be at least {}", too_small.minimum);
        Self::new(source, Reason::InvalidSpec, field, message)
    }

    /// A budget above the limit of the stack for one resource of the layer.
    pub fn above_layer_budget(source: &Source, layer: Layer, requested: i64, limit: i64) -> Self {
        let field = "spec.memoryBudgetBytes";
        let message = format!(
            "{field}: {requested} is more than the {limit} that {}.memoryBudgetBytes of the stack allows; ask for less, or raise it there",
            layer.field()
        );
        Self::new(source, Reason::InvalidSpec, field, message)
    }

    /// A label selector that cannot be evaluated.
    pub fn bad_selector(source: &Source, field: &str, error: &SelectorError) -> Self {
        let field = format!("{field}.{}", error.field());
        let message = format!("{field}: {error}");
        Self::new(source, Reason::InvalidSpec, field, message)
    }

    /// The stack disables the layer.
    pub fn layer_disabled(source: &Source, layer: Layer) -> Self {
        let field = layer.field();
        let message = format!("the stack has {field}.mode Disabled; set it to OnDemand or Enabled");
        Self::new(source, Reason::LayerDisabled, "", message)
    }

    /// The stack's own settings of the layer are refused.
    pub fn layer_not_accepted(source: &Source, layer: Layer) -> Self {
        let message = format!("the stack's {} is not accepted; see the stack's condition Accepted", layer.field());
        Self::new(source, Reason::NotAccepted, "", message)
    }

    /// The stack is suspended.
    pub fn suspended(source: &Source) -> Self {
        Self::new(source, Reason::Suspended, "", "the stack is suspended; set its spec.suspend to false")
    }

    /// A profile of nothing.
    pub fn nothing_requested(source: &Source) -> Self {
        let message = "spec.cpu or spec.requests must be set: the spec requests nothing";
        Self::new(source, Reason::InvalidSpec, "spec.cpu", message)
    }

    /// A protocol that no agent decodes.
    pub fn protocol_not_supported(source: &Source, field: &str, protocol: RequestProtocol) -> Self {
        let supported = RequestProtocol::supported_words();
        let message = format!("{field}: {protocol} is not supported yet; supported are {supported}");
        Self::new(source, Reason::Unsupported, field, message)
    }

    /// Bodies or literals, in a namespace for which the stack does not allow them. `field` is below `spec.requests`.
    pub fn payloads_not_allowed(source: &Source, field: &str) -> Self {
        let namespace = source.namespace.as_deref().unwrap_or_default();
        let field = format!("spec.requests.{field}");
        let message = format!(
            "{field} keeps users' data, which the stack does not allow in namespace {namespace}; remove it, or select the \
             namespace in spec.application.allowPayloads of the stack"
        );
        Self::new(source, Reason::PayloadsNotAllowed, field, message)
    }

    /// `application.mode: Enabled` without what it needs. `what` says what the field is for.
    pub fn standing_profile_lacks(source: &Source, field: &str, what: &str) -> Self {
        let field = format!("spec.application.{field}");
        let message = format!("{field} must be set where spec.application.mode is Enabled: it {what}");
        Self::new(source, Reason::InvalidSpec, field, message)
    }

    /// Bodies or literals in the standing profile. `field` is below `spec.application.requests`.
    pub fn standing_profile_keeps_no_payloads(source: &Source, field: &str) -> Self {
        let field = format!("spec.application.requests.{field}");
        let message = format!(
            "{field}: the standing profile keeps no users' data; remove it, and use an AppProfile in a namespace that \
             spec.application.allowPayloads selects"
        );
        Self::new(source, Reason::PayloadsNotAllowed, field, message)
    }

    /// The profile cannot hold another part.
    pub(super) fn profile_full(source: &Source, full: &ProfileFull) -> Self {
        let ProfileFull { parts, bytes, limit: (most_parts, most_bytes) } = full;
        let what = if *most_parts < MAX_PARTS { "namespaces' share of the profile" } else { "profile" };
        let message = format!(
            "the {what} is full with {parts} parts of older policies, {bytes} bytes (limits: {most_parts} and \
             {most_bytes}); delete policies, or join several into one"
        );
        Self::new(source, Reason::ProfileTooLarge, "", message)
    }
}
