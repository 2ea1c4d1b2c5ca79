//! What is not carried out, and the words for it: the one place where the planner speaks to people.

use std::fmt;

use super::budget::TooSmall;
use crate::{
    condition::cut,
    node::{Source, SourceKind},
    reason::Reason,
    selector::SelectorError,
    stack::Layer,
    status::MAX_MESSAGE,
};

/// Most characters of a field's path.
const MAX_FIELD: usize = 256;

/// Something that a resource asks for and does not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The resource that asked.
    pub source: Source,
    /// Why not.
    pub reason: Reason,
    /// The field, as `spec.tracepoints[0].event`; empty where it is about the whole.
    pub field: String,
    /// What, where, what next; at most 200 characters.
    pub message: String,
    /// Further ones of the same resource that are only counted, beside the last one that is listed.
    pub unlisted: u32,
}

/// Most refusals of one policy that are listed: whoever writes a policy may write as many fields as an object holds.
pub(super) const MOST_LISTED: usize = 20;

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
    /// A refusal in words of the caller's.
    pub fn new(source: &Source, reason: Reason, field: impl Into<String>, message: impl AsRef<str>) -> Self {
        // A key of a policy may be as long as the policy.
        let (field, message) = (cut(&field.into(), MAX_FIELD), cut(message.as_ref(), MAX_MESSAGE));
        Self { source: source.clone(), reason, field, message, unlisted: 0 }
    }

    /// A field that Tetragon has and this version does not carry out.
    pub fn not_carried_out(source: &Source, field: String) -> Self {
        let message = format!("{field} is not carried out by this version; remove it");
        Self::new(source, Reason::Unsupported, field, message)
    }

    /// A value that Tetragon has and this version does not carry out.
    pub fn value_not_carried_out(source: &Source, field: String, value: &str, carried_out: &str) -> Self {
        let message = format!("{field}: {value} is not carried out by this version; use {carried_out}");
        Self::new(source, Reason::Unsupported, field, message)
    }

    /// A field that nobody has.
    pub fn unknown_field(source: &Source, field: String) -> Self {
        let message = format!("unknown field {field}; correct its name or remove it");
        Self::new(source, Reason::InvalidSpec, field, message)
    }

    /// A value that means nothing there.
    pub fn invalid_value(source: &Source, field: String, value: &str, must: &str) -> Self {
        let message = format!("{field}: {value:?} must be {must}");
        Self::new(source, Reason::InvalidSpec, field, message)
    }

    /// A number outside its bounds.
    pub fn out_of_bounds(source: &Source, field: &str, value: i64, low: i64, high: i64) -> Self {
        Self::new(source, Reason::InvalidSpec, field, format!("{field}: {value} must be between {low} and {high}"))
    }

    /// A budget with which the layer cannot run.
    pub fn budget_too_small(source: &Source, layer: Layer, budget: i64, too_small: TooSmall) -> Self {
        let field = format!("{}.memoryBudgetBytes", layer.field());
        let message = format!("{field}: {budget} must be at least {}", too_small.minimum);
        Self::new(source, Reason::InvalidSpec, field, message)
    }

    /// A budget above what the stack gives to one resource of the layer.
    pub fn more_than_the_layer_allows(source: &Source, layer: Layer, asked: i64, most: i64) -> Self {
        let field = "spec.memoryBudgetBytes";
        let message = format!(
            "{field}: {asked} is more than the {most} that {}.memoryBudgetBytes of the stack allows; ask for less, or raise it there",
            layer.field()
        );
        Self::new(source, Reason::InvalidSpec, field, message)
    }

    /// A label selector that nothing can be made of.
    pub fn bad_selector(source: &Source, field: &str, error: &SelectorError) -> Self {
        let field = format!("{field}.{}", error.field());
        let message = format!("{field}: {error}");
        Self::new(source, Reason::InvalidSpec, field, message)
    }

    /// The layer is switched off.
    pub fn layer_disabled(source: &Source, layer: Layer) -> Self {
        let field = layer.field();
        let message = format!("the stack has {field}.mode Disabled; set it to OnDemand or Enabled");
        let message = if layer == Layer::Application { message.replace(" or Enabled", "") } else { message };
        Self::new(source, Reason::LayerDisabled, "", message)
    }

    /// The stack's own settings of the layer are refused, so nothing can be built on them.
    pub fn layer_not_accepted(source: &Source, layer: Layer) -> Self {
        let message = format!("the stack's {} is not accepted; see the stack's condition Accepted", layer.field());
        Self::new(source, Reason::NotAccepted, "", message)
    }

    /// The stack is suspended.
    pub fn suspended(source: &Source) -> Self {
        Self::new(source, Reason::Suspended, "", "the stack is suspended; set its spec.suspend to false")
    }

    /// A policy without a hook.
    pub fn asks_for_nothing(source: &Source) -> Self {
        let field = if source.kind == SourceKind::AppProfile { "spec.cpu" } else { "spec.tracepoints" };
        Self::new(source, Reason::InvalidSpec, field, format!("{field} must be set: nothing is asked for"))
    }

    /// `application.mode: Enabled`.
    pub fn always_on_profiles(source: &Source) -> Self {
        let field = "spec.application.mode";
        let message = format!("{field}: Enabled is not carried out by this version; use OnDemand, and an AppProfile");
        Self::new(source, Reason::Unsupported, field, message)
    }

    /// The profile is full.
    pub fn profile_full(source: &Source, parts: usize, bytes: usize) -> Self {
        let message = format!(
            "the profile is full with {parts} parts of older policies, {bytes} bytes (limits: {} and {}); \
             delete policies, or join several into one",
            super::MAX_PARTS,
            super::MAX_PROFILE_BYTES
        );
        Self::new(source, Reason::ProfileTooLarge, "", message)
    }
}
