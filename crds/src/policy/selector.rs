//! Selectors: the filters of a hook. Every filter of a selector must match; of the selectors that match, the first one acts.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use validator::{Validate, ValidationError};

use super::{
    action::Action,
    operator::Operator,
    word::{self, Word, vocabulary},
};
use crate::{bounds, selector};

/// Most values of one filter.
const MAX_VALUES: u64 = 16_384;
/// Longest value.
const MAX_VALUE: usize = 4_096;
/// Most filters of one kind in a selector.
const MAX_FILTERS: u64 = 64;

/// One alternative of a hook's filters.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// A name for the selector in status and metrics, e.g. `writes`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = 128))]
    pub label: String,
    /// Filters on the process id.
    #[serde(default, rename = "matchPIDs", skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_FILTERS), nested)]
    pub match_pids: Vec<PidFilter>,
    /// Filters on `args`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_FILTERS), nested)]
    pub match_args: Vec<ValueFilter>,
    /// Filters on `data`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_FILTERS), nested)]
    pub match_data: Vec<ValueFilter>,
    /// Filters on `returnArg`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_FILTERS), nested)]
    pub match_return_args: Vec<ValueFilter>,
    /// Filters on the path of the process's program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_FILTERS), nested)]
    pub match_binaries: Vec<BinaryFilter>,
    /// Filters on the path of the parent's program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_FILTERS), nested)]
    pub match_parent_binaries: Vec<BinaryFilter>,
    /// Filters on the process's Linux namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_FILTERS), nested)]
    pub match_namespaces: Vec<NamespaceFilter>,
    /// Filters on Linux namespaces that changed since the process was executed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_FILTERS), nested)]
    pub match_namespace_changes: Vec<NamespaceChangeFilter>,
    /// Filters on the process's capabilities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_FILTERS), nested)]
    pub match_capabilities: Vec<CapabilityFilter>,
    /// Filters on capabilities that changed since the process was executed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_FILTERS), nested)]
    pub match_capability_changes: Vec<CapabilityFilter>,
    /// Filters on the process's credentials as they are at the call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_FILTERS), nested)]
    pub match_credentials: Vec<CredentialFilter>,
    /// Filters on the pod, container or host of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub match_workloads: Option<WorkloadFilter>,
    /// Names of `selectorsMacros` whose filters are added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = 128)))]
    #[validate(length(max = MAX_FILTERS))]
    pub macros: Vec<String>,
    /// What happens on a match; unset means `Post`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 16), nested)]
    pub match_actions: Vec<Action>,
    /// What happens at the return, where `matchReturnArgs` match too; unset means `Post`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 16), nested)]
    pub match_return_actions: Vec<Action>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Filters on a value that the hook reads.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValueFilter {
    /// The `index` of the argument; for `matchData`, the position in `data`.
    #[serde(default)]
    #[validate(range(min = 0, max = 127))]
    pub index: i32,
    /// Positions in the list of arguments, from 0, where the operator compares several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(min = 0, max = 127)))]
    #[validate(length(max = 8), custom(function = check_positions))]
    pub args: Vec<i32>,
    /// The comparison, e.g. `Equal` or `Prefix`.
    pub operator: Word<Operator>,
    /// What to compare with, e.g. `["/etc/shadow"]` or `["1024:2048"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = MAX_VALUE)))]
    #[validate(length(max = MAX_VALUES), custom(function = check_texts))]
    pub values: Vec<String>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Filters on process ids.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PidFilter {
    /// `In` or `NotIn`.
    pub operator: Word<Operator>,
    /// Process ids, e.g. `[1]`.
    #[schemars(inner(range(min = 0, max = u32::MAX)))]
    #[validate(length(max = MAX_VALUES), custom(function = check_ids))]
    pub values: Vec<i64>,
    /// Whether the ids are those of the process's own PID namespace. Processes of the host have 0 there, a container's first one 1.
    #[serde(default, rename = "isNamespacePID", skip_serializing_if = "std::ops::Not::not")]
    pub is_namespace_pid: bool,
    /// Whether descendants of these processes match too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follow_forks: bool,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Filters on paths of programs.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BinaryFilter {
    /// `In`, `NotIn`, `Prefix`, `NotPrefix`, `Postfix` or `NotPostfix`.
    pub operator: Word<Operator>,
    /// Paths, e.g. `["/usr/bin/curl"]`.
    #[schemars(inner(length(max = MAX_VALUE)))]
    #[validate(length(max = MAX_VALUES), custom(function = check_texts))]
    pub values: Vec<String>,
    /// Whether descendants of processes with these programs match too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follow_children: bool,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl BinaryFilter {
    /// Whether a listed path makes it match: such a filter also means the file that is executed, see `Hook::is_before_exec`.
    pub fn is_positive(&self) -> bool {
        self.operator.known().is_some_and(|operator| !operator.is_negated())
    }
}

/// Filters on one Linux namespace of the process.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceFilter {
    /// The kind of namespace, e.g. `Mnt`.
    pub namespace: Word<NamespaceKind>,
    /// `In` or `NotIn`.
    pub operator: Word<Operator>,
    /// Inode numbers, or `host_ns` for that of the host.
    #[schemars(inner(length(max = 64)))]
    #[validate(length(max = MAX_VALUES), custom(function = check_texts))]
    pub values: Vec<String>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Filters on changes of Linux namespaces.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceChangeFilter {
    /// `In` or `NotIn`.
    pub operator: Word<Operator>,
    /// Kinds of namespaces, e.g. `[Mnt, Pid]`.
    #[validate(length(max = 64))]
    pub values: Vec<Word<NamespaceKind>>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Filters on capabilities.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapabilityFilter {
    /// The set: `Effective`, `Inheritable` or `Permitted`.
    #[serde(default, deserialize_with = "word::default_if_empty")]
    pub r#type: Word<CapabilitySet>,
    /// `In` or `NotIn`.
    pub operator: Word<Operator>,
    /// Only matches processes outside the host's user namespace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_namespace_capability: bool,
    /// Names, e.g. `["CAP_SYS_ADMIN"]`.
    #[schemars(inner(length(max = 64)))]
    #[validate(length(max = 64), custom(function = check_texts))]
    pub values: Vec<String>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Filters on one id of the process's credentials.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialFilter {
    /// The id, e.g. `euid`.
    pub credential: Word<Credential>,
    /// `In` or `NotIn`.
    pub operator: Word<Operator>,
    /// Ids or ranges, e.g. `["0", "1000:1999"]`.
    #[schemars(inner(length(max = 64)))]
    #[validate(length(max = MAX_VALUES), custom(function = check_texts))]
    pub values: Vec<String>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Filters on where the process runs.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadFilter {
    /// Selects pods by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = selector::check_bounds))]
    pub pod_selector: Option<LabelSelector>,
    /// Selects containers by `name` and `repo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = selector::check_bounds))]
    pub container_selector: Option<LabelSelector>,
    /// `{}` selects processes outside any pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = selector::check_bounds))]
    pub host_selector: Option<LabelSelector>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

vocabulary! {
    /// A kind of Linux namespace.
    #[derive(Default)]
    NamespaceKind {
        /// Host and domain name.
        #[default]
        Uts = "Uts",
        /// System V IPC.
        Ipc = "Ipc",
        /// Mounts.
        Mnt = "Mnt",
        /// Process ids.
        Pid = "Pid",
        /// Process ids of future children.
        PidForChildren = "PidForChildren",
        /// Network.
        Net = "Net",
        /// Clocks.
        Time = "Time",
        /// Clocks of future children.
        TimeForChildren = "TimeForChildren",
        /// Control groups.
        Cgroup = "Cgroup",
        /// Users.
        User = "User",
    }
}

vocabulary! {
    /// A capability set of a process.
    #[derive(Default)]
    CapabilitySet {
        /// Those that are checked.
        #[default]
        Effective = "Effective",
        /// Those that may survive an exec.
        Inheritable = "Inheritable",
        /// Those that may become effective.
        Permitted = "Permitted",
    }
}

vocabulary! {
    /// An id of a process's credentials.
    #[derive(Default)]
    Credential {
        /// Real user.
        #[default]
        Uid = "uid",
        /// Effective user.
        Euid = "euid",
        /// Saved user.
        Suid = "suid",
        /// User for files.
        Fsuid = "fsuid",
        /// Real group.
        Gid = "gid",
        /// Effective group.
        Egid = "egid",
        /// Saved group.
        Sgid = "sgid",
        /// Group for files.
        Fsgid = "fsgid",
        /// User of the login, 4294967295 where there was none.
        Auid = "auid",
    }
}

fn check_texts(values: &[String]) -> Result<(), ValidationError> {
    bounds::check_items(values, |value| bounds::length_problem(value, 0, MAX_VALUE))
}

fn check_ids(ids: &[i64]) -> Result<(), ValidationError> {
    bounds::check_items(ids, |id| {
        let fits = (0..=i64::from(u32::MAX)).contains(id);
        (!fits).then(|| format!("{id} must be 0 to {}", u32::MAX))
    })
}

fn check_positions(positions: &[i32]) -> Result<(), ValidationError> {
    bounds::check_items(positions, |position| {
        (!(0..=127).contains(position)).then(|| format!("{position} must be 0 to 127"))
    })
}
