//! Options of a policy: names and values.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use validator::Validate;

use super::word::{Vocabulary, Word, vocabulary};

/// One option.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyOption {
    /// The option, e.g. `policy-mode`.
    pub name: Word<OptionName>,
    /// Its value, e.g. `monitor`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = 256))]
    pub value: String,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

vocabulary! {
    /// The name of an option.
    #[derive(Default)]
    OptionName {
        /// `enforce`, or `monitor`: signals are not sent.
        #[default]
        PolicyMode = "policy-mode",
        /// How Override is done: `fmod-ret` or `override-return`.
        OverrideMethod = "override-method",
        /// Attaches each kprobe by itself.
        DisableKprobeMulti = "disable-kprobe-multi",
        /// Attaches each uprobe by itself.
        DisableUprobeMulti = "disable-uprobe-multi",
        /// Number of entries that a sleepable program prepares.
        SleepablePreloadSize = "sleepable-preload-size",
    }
}

vocabulary! {
    /// Whether a policy's signals are sent.
    #[derive(Default)]
    PolicyMode {
        /// Signals are sent.
        #[default]
        Enforce = "enforce",
        /// Signals are only reported.
        Monitor = "monitor",
    }
}

vocabulary! {
    /// How Override is done.
    OverrideMethod {
        /// By a program that replaces the return value.
        FmodRet = "fmod-ret",
        /// By the helper for error injection.
        OverrideReturn = "override-return",
    }
}

/// The value of the last option with this name, as Tetragon reads it.
pub(super) fn value(options: &[PolicyOption], name: OptionName) -> Option<&str> {
    options.iter().rev().find(|option| option.name.known() == Some(name)).map(|option| option.value.as_str())
}

/// Whether signals are sent.
pub(super) fn mode(options: &[PolicyOption]) -> PolicyMode {
    value(options, OptionName::PolicyMode).and_then(PolicyMode::parse).unwrap_or_default()
}

/// The value of an option that is true or false, as Go reads it.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
