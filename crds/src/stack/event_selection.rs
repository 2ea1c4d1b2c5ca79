//! Which events an export writes, and what of each: Tetragon's filters, in the words of its `export-*` settings.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

/// What an export writes of the events.
#[derive(KubeSchema, Validate, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventSelection {
    /// Types of events that are written, e.g. `process_exec`. Empty: all that there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 16))]
    pub enabled_fields: Vec<EventName>,
    /// An event is written if one of these holds, or if there is none, e.g. `{event_set: [PROCESS_KPROBE]}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 32), nested)]
    pub allow_list: Vec<EventFilter>,
    /// An event is not written if one of these holds, e.g. `{namespace: [kube-system]}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 32), nested)]
    pub deny_list: Vec<EventFilter>,
    /// Which fields of the events are written; applied in order, e.g. `{fields: process.cap, action: EXCLUDE}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 32), nested)]
    pub field_filters: Vec<EventFieldFilter>,
    /// What is replaced by `*****` in arguments of processes and of hooks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 32), nested)]
    pub redaction_filters: Vec<RedactionFilter>,
    /// Events that are written in a minute at most, e.g. 6000; a `rate_limit_info` has the number of the others. -1: no limit.
    #[serde(default = "no_limit", skip_serializing_if = "is_no_limit")]
    #[validate(range(min = -1, max = 100_000_000))]
    pub rate_limit: i32,
    /// Whether processes of pods also have `pod_name` and `namespace`, for tools that label by one flat key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flat_pod_keys: bool,
}

/// A type of events by the name of its member in the JSON. This agent sends the first six.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are Tetragon's")]
pub enum EventName {
    ProcessExec,
    ProcessExit,
    ProcessKprobe,
    ProcessTracepoint,
    ProcessThrottle,
    RateLimitInfo,
    ProcessLoader,
    ProcessUprobe,
    ProcessLsm,
    ProcessUsdt,
}

/// Conditions on an event, all of which must hold; of each list one is enough.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFilter {
    /// Types of events, e.g. `PROCESS_EXEC`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 16))]
    #[schemars(inner(length(max = 32)))]
    pub event_set: Vec<String>,
    /// Namespaces of pods; an empty one is the host, e.g. `payments`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 63)))]
    pub namespace: Vec<String>,
    /// Regular expressions for namespaces, e.g. `^team-`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 512)))]
    pub namespace_regex: Vec<String>,
    /// Regular expressions for names of pods, e.g. `^cart-`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 512)))]
    pub pod_regex: Vec<String>,
    /// Label selectors for pods, e.g. `app=cart,tier in (a, b)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 512)))]
    pub labels: Vec<String>,
    /// Regular expressions for names of containers, e.g. `^istio-`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 512)))]
    pub container_name_regex: Vec<String>,
    /// Regular expressions for the first 31 characters of a container's id, e.g. `^0123`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 512)))]
    pub container_id: Vec<String>,
    /// Regular expressions for paths of binaries, e.g. `^/usr/bin/curl$`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 512)))]
    pub binary_regex: Vec<String>,
    /// Regular expressions for arguments, e.g. `--token`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 512)))]
    pub arguments_regex: Vec<String>,
    /// The same for the parent's binary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 512)))]
    pub parent_binary_regex: Vec<String>,
    /// The same for the parent's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 512)))]
    pub parent_arguments_regex: Vec<String>,
    /// The same for the binaries of ancestors beyond the parent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 512)))]
    pub ancestor_binary_regex: Vec<String>,
    /// Process ids, e.g. 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    pub pid: Vec<u32>,
    /// Process ids, with all their descendants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    pub pid_set: Vec<u32>,
    /// Names of policies, e.g. `detect-download-tools`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 253)))]
    pub policy_names: Vec<String>,
    /// Capabilities at the exec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub capabilities: Option<CapabilitiesFilter>,
    /// CEL expressions over the event, e.g. `process_exec.process.uid == 0u`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 16))]
    #[schemars(inner(length(max = 4096)))]
    pub cel_expression: Vec<String>,
    /// Whether the process or its parent is a probe of the kubelet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<bool>,
    /// Whether the process descends from the first one of its container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_init_tree: Option<bool>,
}

/// Conditions on the capability sets of a process.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitiesFilter {
    /// The permitted set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub permitted: Option<CapabilitySetFilter>,
    /// The effective set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub effective: Option<CapabilitySetFilter>,
    /// The inheritable set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub inheritable: Option<CapabilitySetFilter>,
}

/// A condition on one set: exactly one of the four lists.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySetFilter {
    /// The set has one of these, e.g. `CAP_SYS_ADMIN`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 32)))]
    pub any: Vec<String>,
    /// The set has all of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 32)))]
    pub all: Vec<String>,
    /// The set is this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 32)))]
    pub exactly: Vec<String>,
    /// The set has none of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 32)))]
    pub none: Vec<String>,
}

/// Fields that are written, or left out.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFieldFilter {
    /// Types of events that it is about; empty: all, e.g. `PROCESS_EXEC`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 16))]
    #[schemars(inner(length(max = 32)))]
    pub event_set: Vec<String>,
    /// It is about all other types.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invert_event_set: bool,
    /// Paths below the event, separated by commas, e.g. `process.binary,process.arguments`.
    #[serde(default)]
    #[validate(length(max = 4096))]
    pub fields: String,
    /// Whether only these fields are written, or all others.
    #[serde(default)]
    pub action: FieldAction,
}

/// What happens to the named fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum FieldAction {
    /// Only they are written.
    #[default]
    Include,
    /// All others are written.
    Exclude,
}

/// Text that is replaced by `*****`.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedactionFilter {
    /// Regular expressions; what their groups match is replaced, e.g. `(?:--password[= ])(\S+)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 512)))]
    pub redact: Vec<String>,
    /// Regular expressions for the binaries that it is about; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    #[schemars(inner(length(max = 512)))]
    pub binary_regex: Vec<String>,
}

impl EventName {
    /// The number in Tetragon's EventType.
    pub fn number(self) -> i32 {
        match self {
            Self::ProcessExec => 1,
            Self::ProcessExit => 5,
            Self::ProcessKprobe => 9,
            Self::ProcessTracepoint => 10,
            Self::ProcessLoader => 11,
            Self::ProcessUprobe => 12,
            Self::ProcessThrottle => 27,
            Self::ProcessLsm => 28,
            Self::ProcessUsdt => 29,
            Self::RateLimitInfo => 40_001,
        }
    }
}

impl EventSelection {
    /// Whether it leaves every event as it is.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for EventSelection {
    fn default() -> Self {
        Self {
            enabled_fields: Vec::new(),
            allow_list: Vec::new(),
            deny_list: Vec::new(),
            field_filters: Vec::new(),
            redaction_filters: Vec::new(),
            rate_limit: no_limit(),
            flat_pod_keys: false,
        }
    }
}

fn no_limit() -> i32 {
    -1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_no_limit(limit: &i32) -> bool {
    *limit < 0
}
