//! Named lists of functions and numbers, used as `list:NAME`.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use validator::{Validate, ValidationError};

use crate::{
    bounds,
    policy::word::{self, Word, vocabulary},
};

const MAX_VALUES: u64 = 16_384;
const MAX_VALUE: usize = 256;

/// A named list.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct List {
    /// The list's name, e.g. `dups` for `list:dups`.
    #[validate(length(min = 1, max = 128))]
    pub name: String,
    /// What the values are: `syscalls`; `generated_syscalls` and `generated_ftrace` are filled by each node.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "word::unset_if_empty")]
    pub r#type: Option<Word<ListType>>,
    /// The values, e.g. `[sys_dup, sys_dup2]`; a prefix such as `i386/` names an ABI.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = MAX_VALUE)))]
    #[validate(length(max = MAX_VALUES), custom(function = check_values))]
    pub values: Vec<String>,
    /// Pattern of the names of functions, e.g. `^ksys_*`; for `generated_ftrace`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = 1024))]
    pub pattern: String,
    /// Ignored; Tetragon sets it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub validated: bool,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

vocabulary! {
    /// What the values of a list are.
    ListType {
        /// Names of system calls.
        Syscalls = "syscalls",
        /// Every system call of the node's kernel.
        GeneratedSyscalls = "generated_syscalls",
        /// Functions of the node's kernel whose names match the pattern.
        GeneratedFtrace = "generated_ftrace",
    }
}

fn check_values(values: &[String]) -> Result<(), ValidationError> {
    bounds::check_items(values, |value| bounds::length_problem(value, 0, MAX_VALUE))
}
