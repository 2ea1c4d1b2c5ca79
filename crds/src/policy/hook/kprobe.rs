//! Functions of the kernel: `kprobes` and `fentries`.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use validator::Validate;

use super::{MAX_ARGUMENTS, MAX_MESSAGE, MAX_SELECTORS, MAX_TAG, MAX_TAGS, MIN_TAG, check_tags};
use crate::policy::{
    action::ActionKind,
    argument::Argument,
    selector::Selector,
    word::{self, Word},
};

/// A function of the kernel.
#[derive(KubeSchema, Validate, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kprobe {
    /// Name of the function, e.g. `tcp_connect` or `sys_openat`; `list:NAME` for each of a list.
    #[validate(length(min = 1, max = 256))]
    pub call: String,
    /// Whether the function is a system call, whose name differs between architectures.
    #[serde(default = "yes")]
    pub syscall: bool,
    /// Emits the event when the function returns, with `returnArg`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub r#return: bool,
    /// How the returned value is read, e.g. `{index: 0, type: int}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub return_arg: Option<Argument>,
    /// What is done with a returned socket: `TrackSock` or `UntrackSock`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "word::unset_if_empty")]
    pub return_arg_action: Option<Word<ActionKind>>,
    /// The arguments to read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_ARGUMENTS), nested)]
    pub args: Vec<Argument>,
    /// Other values to read, e.g. from the calling thread.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_ARGUMENTS), nested)]
    pub data: Vec<Argument>,
    /// A text that each event shows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = MAX_MESSAGE))]
    pub message: String,
    /// Tags that each event shows, e.g. `[observability.process]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = MIN_TAG, max = MAX_TAG)))]
    #[validate(length(max = MAX_TAGS), custom(function = check_tags))]
    pub tags: Vec<String>,
    /// Alternatives of filters, each with its actions; without any, each call emits an event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_SELECTORS), nested)]
    pub selectors: Vec<Selector>,
    /// What is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub ignore: Option<KprobeIgnore>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// What is ignored.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KprobeIgnore {
    /// Leaves the hook out where the kernel does not have the function.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub call_not_found: bool,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Default for Kprobe {
    fn default() -> Self {
        Self {
            call: String::new(),
            syscall: true,
            r#return: false,
            return_arg: None,
            return_arg_action: None,
            args: Vec::new(),
            data: Vec::new(),
            message: String::new(),
            tags: Vec::new(),
            selectors: Vec::new(),
            ignore: None,
            other: BTreeMap::new(),
        }
    }
}

fn yes() -> bool {
    true
}
