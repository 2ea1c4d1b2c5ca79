//! The language of tracing policies: every field of Tetragon's spec, typed; one spec for all kinds.
//! Words that the language does not have are kept as written; `check` refuses them by their paths.

pub mod action;
pub mod argument;
pub mod check;
pub mod evaluate;
pub mod hook;
mod kinds;
pub mod macros;
pub mod operator;
pub mod options;
mod return_actions;
pub mod selector;
pub mod value;
pub mod word;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use validator::{Validate, ValidationError};

pub use action::{Action, ActionKind, RateLimitScope};
pub use argument::{Argument, ArgumentSource, ArgumentType, Integer, ValueClass};
pub use hook::{Enforcer, Hook, Kprobe, KprobeIgnore, List, ListType, LsmHook, Tracepoint, Uprobe, UprobeIgnore, Usdt};
pub use kinds::{
    CiliumNamespacedSpec, CiliumSpec, CiliumTracingPolicy, CiliumTracingPolicyNamespaced, NamespacedSpec,
    TracingPolicyNamespaced,
};
pub use operator::Operator;
pub use options::{OptionName, OverrideMethod, PolicyMode, PolicyOption};
pub use return_actions::return_actions;
pub use selector::{
    BinaryFilter, CapabilityFilter, CapabilitySet, Credential, CredentialFilter, NamespaceChangeFilter,
    NamespaceFilter, NamespaceKind, PidFilter, Selector, ValueFilter, WorkloadFilter,
};
pub use word::{Vocabulary, Word};

use crate::{bounds, status::ResourceStatus};

/// Most hooks of one section.
const MAX_HOOKS: u64 = 256;
const MAX_LISTS: u64 = 64;
const MAX_MACROS: u64 = 64;

/// Hooks in the kernel, filters and actions; the spec of all kinds.
#[derive(CustomResource, KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "trilobite.dev",
    version = "v1alpha1",
    kind = "TracingPolicy",
    plural = "tracingpolicies",
    shortname = "tbtp",
    category = "trilobite",
    status = "ResourceStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Hooks in the kernel whose events are shown, for the pods of all namespaces"
)]
#[serde(rename_all = "camelCase")]
pub struct TracingPolicySpec {
    /// Functions of the kernel, e.g. `[{call: tcp_connect, syscall: false}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_HOOKS), nested)]
    pub kprobes: Vec<Kprobe>,
    /// Functions of the kernel, attached to by their types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_HOOKS), nested)]
    pub fentries: Vec<Kprobe>,
    /// Tracepoints, e.g. `[{subsystem: sched, event: sched_process_fork}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_HOOKS), nested)]
    pub tracepoints: Vec<Tracepoint>,
    /// Functions of programs. Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_HOOKS), nested)]
    pub uprobes: Vec<Uprobe>,
    /// Probes that programs were built with. Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_HOOKS), nested)]
    pub usdts: Vec<Usdt>,
    /// Hooks of the kernel's security modules. Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_HOOKS), nested)]
    pub lsmhooks: Vec<LsmHook>,
    /// Emits an event when a program's file is mapped. Not supported yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub loader: bool,
    /// Named lists, used as `list:NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_LISTS), nested)]
    pub lists: Vec<List>,
    /// Functions at which NotifyEnforcer acts. Not supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_LISTS), nested)]
    pub enforcers: Vec<Enforcer>,
    /// Options, e.g. `[{name: policy-mode, value: monitor}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 32), nested)]
    pub options: Vec<PolicyOption>,
    /// Selects pods by their labels, e.g. `matchLabels: {app: checkout}`. Unset selects every pod of the policy's namespace;
    /// in a TracingPolicy, every pod of the cluster and the processes of the nodes themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = crate::selector::check_bounds))]
    pub pod_selector: Option<LabelSelector>,
    /// Selects containers by `name` and `repo`, e.g. `matchLabels: {name: main}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = crate::selector::check_bounds))]
    pub container_selector: Option<LabelSelector>,
    /// `{}` selects processes outside any pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = crate::selector::check_bounds))]
    pub host_selector: Option<LabelSelector>,
    /// Selects nodes by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = crate::selector::check_bounds))]
    pub node_selector: Option<LabelSelector>,
    /// Filters that selectors add by name, in `macros`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_MACROS))]
    #[validate(length(max = MAX_MACROS), custom(function = check_macros))]
    pub selectors_macros: BTreeMap<String, Selector>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl TracingPolicySpec {
    /// The hooks of the supported sections, each with its path, e.g. `spec.kprobes[0]`.
    pub fn hooks(&self) -> impl Iterator<Item = (String, Hook<'_>)> {
        let path = |section: &str, index: usize| format!("spec.{section}[{index}]");
        let kprobes = self.kprobes.iter().enumerate();
        let fentries = self.fentries.iter().enumerate();
        let tracepoints = self.tracepoints.iter().enumerate();
        kprobes
            .map(move |(index, hook)| (path("kprobes", index), Hook::Kprobe(hook)))
            .chain(fentries.map(move |(index, hook)| (path("fentries", index), Hook::Fentry(hook))))
            .chain(tracepoints.map(move |(index, hook)| (path("tracepoints", index), Hook::Tracepoint(hook))))
    }

    /// Whether signals are sent, or only reported.
    pub fn mode(&self) -> PolicyMode {
        options::mode(&self.options)
    }

    /// Whether each kprobe is attached by itself.
    pub fn disables_kprobe_multi(&self) -> bool {
        options::value(&self.options, OptionName::DisableKprobeMulti).and_then(options::boolean).unwrap_or_default()
    }

    /// The list with this name.
    pub fn list(&self, name: &str) -> Option<&List> {
        self.lists.iter().find(|list| list.name == name)
    }
}

fn check_macros(macros: &BTreeMap<String, Selector>) -> Result<(), ValidationError> {
    let below = macros.iter().flat_map(|(name, selector)| bounds::violations(selector, &format!(".{name}")));
    bounds::fail_below(below.map(|violation| (violation.field, violation.message)).collect())
}

#[cfg(test)]
mod tests;
