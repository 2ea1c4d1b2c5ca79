//! Bounds and patterns of fields: each is written once, as `#[validate(..)]` on its type. schemars makes the CRD's schema
//! of it; this file turns what the `validator` crate reports into the same field paths that the API server uses.

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use regex::Regex;
use serde_json::Value;
use validator::{Validate, ValidationError, ValidationErrors, ValidationErrorsKind};

/// Largest count in an object. The API server holds bounds as floats; this is the highest whole number that a float holds
/// exactly.
pub const MAX_COUNT: i64 = (1 << 53) - 1;
/// Longest value of a map of strings that has no bound of its own: the longest value of a node's label.
pub(crate) const MAX_MAP_VALUE: usize = 253;

/// Ports of a list.
pub(crate) const MIN_PORT: i32 = 1;
pub(crate) const MAX_PORT: i32 = 65535;

/// A reason or another word of the API, e.g. `AllNodesApplied`.
pub(crate) static REASON: LazyLock<Regex> = LazyLock::new(|| pattern("^[A-Z][A-Za-z0-9]*$"));
/// A hex sha256.
pub(crate) static DIGEST: LazyLock<Regex> = LazyLock::new(|| pattern("^[0-9a-f]{64}$"));
/// The name of a directory below `/sys/kernel/tracing/events`.
pub(crate) static TRACEPOINT_NAME: LazyLock<Regex> = LazyLock::new(|| pattern("^[A-Za-z0-9_]+$"));

/// The parameter of a `ValidationError` that lists what is wrong below the field: pairs of a path and a message.
const BELOW: &str = "below";

/// Something that is wrong with an object, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Path of the field, e.g. `spec.ports[0]`; empty where the whole object is meant.
    pub field: String,
    /// What the field must be.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Every bound and pattern that `object`, found at `path`, violates, sorted by field.
pub fn violations(object: &impl Validate, path: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Err(errors) = object.validate() {
        collect(&errors, path, &mut found);
    }
    found.sort();
    found
}

/// Compiles a pattern of this crate.
pub(crate) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("patterns are constants that tests compile")
}

/// Checks each item of a list; `check` says what an item must be. For `#[validate(custom(..))]`.
pub(crate) fn check_items<T>(items: &[T], check: impl Fn(&T) -> Option<String>) -> Result<(), ValidationError> {
    let bad = items.iter().enumerate().filter_map(|(index, item)| Some((format!("[{index}]"), check(item)?)));
    fail_below(bad.collect())
}

/// Checks each port of a list. For `#[validate(custom(..))]`.
pub(crate) fn check_ports(ports: &[i32]) -> Result<(), ValidationError> {
    check_items(ports, |port| match *port {
        port if port < MIN_PORT => Some(format!("{port} must be at least {MIN_PORT}")),
        port if port > MAX_PORT => Some(format!("{port} must be at most {MAX_PORT}")),
        _ => None,
    })
}

/// Checks each value of a map; `check` says what a value must be. For `#[validate(custom(..))]`.
pub(crate) fn check_values(
    map: &BTreeMap<String, String>,
    check: impl Fn(&str) -> Option<String>,
) -> Result<(), ValidationError> {
    let bad = map.iter().filter_map(|(name, value)| Some((format!(".{name}"), check(value)?)));
    fail_below(bad.collect())
}

/// Fails with pairs of a path below the field and what is wrong there; succeeds without any.
pub(crate) fn fail_below(bad: Vec<(String, String)>) -> Result<(), ValidationError> {
    if bad.is_empty() {
        return Ok(());
    }
    let mut error = ValidationError::new(BELOW);
    error.add_param(BELOW.into(), &bad);
    Err(error)
}

/// What is wrong with the length of a text, if anything.
pub(crate) fn length_problem(text: &str, min: usize, max: usize) -> Option<String> {
    let length = text.chars().count();
    match length {
        _ if length > max => Some(format!("must have at most {max} characters, has {length}")),
        _ if length < min => Some(format!("must have at least {min} characters, has {length}")),
        _ => None,
    }
}

fn collect(errors: &ValidationErrors, path: &str, found: &mut Vec<Violation>) {
    for (name, kind) in errors.errors() {
        let path = format!("{path}.{}", json_name(name));
        match kind {
            ValidationErrorsKind::Struct(inner) => collect(inner, &path, found),
            ValidationErrorsKind::List(items) => {
                items.iter().for_each(|(index, inner)| collect(inner, &format!("{path}[{index}]"), found));
            }
            ValidationErrorsKind::Field(errors) => {
                // A wrong length hides the other violations of the field: one for each of ten thousand items says no more.
                let length = errors.iter().any(|error| error.code == "length");
                let shown = errors.iter().filter(|error| !length || error.code == "length");
                shown.for_each(|error| describe(error, &path, found));
            }
        }
    }
}

fn describe(error: &ValidationError, path: &str, found: &mut Vec<Violation>) {
    let mut add = |below: &str, message| found.push(Violation { field: format!("{path}{below}"), message });
    if let Some(Value::Array(pairs)) = error.params.get(BELOW) {
        for pair in pairs {
            add(pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default().into());
        }
        return;
    }
    let value = error.params.get("value").unwrap_or(&Value::Null);
    let message = match &error.message {
        Some(message) => format!("{value} {message}"),
        None => bound_message(error, value),
    };
    add("", message);
}

/// The message about a `length` or a `range`.
fn bound_message(error: &ValidationError, value: &Value) -> String {
    let bound = |name| error.params.get(name).and_then(Value::as_i64);
    let (things, count) = match value {
        Value::String(text) => ("characters", text.chars().count()),
        Value::Array(items) => ("items", items.len()),
        Value::Object(entries) => ("entries", entries.len()),
        number => {
            return match (bound("min"), bound("max")) {
                (Some(min), _) if number.as_i64().is_some_and(|number| number < min) => {
                    format!("{number} must be at least {min}")
                }
                (_, Some(max)) => format!("{number} must be at most {max}"),
                _ => format!("{number} must satisfy {}", error.code),
            };
        }
    };
    match (bound("min"), bound("max")) {
        (Some(min), _) if (count as i64) < min => format!("must have at least {min} {things}, has {count}"),
        (_, max) => format!("must have at most {} {things}, has {count}", max.unwrap_or_default()),
    }
}

/// The name of a field in JSON: every type of this crate has `rename_all = "camelCase"`.
fn json_name(field: &str) -> String {
    let mut name = String::with_capacity(field.len());
    let mut upper = false;
    for letter in field.trim_start_matches("r#").chars() {
        match letter {
            '_' => upper = true,
            _ if upper => {
                name.push(letter.to_ascii_uppercase());
                upper = false;
            }
            _ => name.push(letter),
        }
    }
    name
}
