//! Names made from content: canonical JSON, its sha256, and object names of at most 63 characters.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::node::{
    ApplicationSettings, ExportPlan, NetworkSettings, NodeProfileSpec, PartContent, PartRef, ProfilePartSpec, Source,
};

/// The names are values of labels, which hold this many characters.
const MAX_NAME: usize = 63;
const HASH_IN_NAME: usize = 10;

/// Digest of a part's `source` and `content`.
pub fn part_digest(source: &Source, content: &PartContent) -> String {
    #[derive(Serialize)]
    struct Digested<'a> {
        source: &'a Source,
        content: &'a PartContent,
    }
    sha256(&Digested { source, content })
}

/// Digest of every field of a profile but the digest itself.
pub fn profile_digest(
    stack: &str,
    pool: &str,
    suspended: bool,
    parts: &[PartRef],
    export: Option<&ExportPlan>,
    application: Option<&ApplicationSettings>,
    network: Option<&NetworkSettings>,
) -> String {
    #[derive(Serialize)]
    struct Digested<'a> {
        stack: &'a str,
        pool: &'a str,
        suspended: bool,
        parts: &'a [PartRef],
        export: Option<&'a ExportPlan>,
        // Left out where there are none, so that profiles of earlier versions keep their digests.
        #[serde(skip_serializing_if = "Option::is_none")]
        application: Option<&'a ApplicationSettings>,
        #[serde(skip_serializing_if = "Option::is_none")]
        network: Option<&'a NetworkSettings>,
    }
    sha256(&Digested { stack, pool, suspended, parts, export, application, network })
}

impl ProfilePartSpec {
    /// Whether the content matches the digest. Parts that come over the network or from a disk are checked with it.
    pub fn is_intact(&self) -> bool {
        self.digest == part_digest(&self.source, &self.content)
    }
}

impl NodeProfileSpec {
    /// Whether the content matches the digest.
    pub fn is_intact(&self) -> bool {
        let Self { stack, pool, digest, suspended, parts, export, application, network } = self;
        let (export, application, network) = (export.as_ref(), application.as_ref(), network.as_ref());
        *digest == profile_digest(stack, pool, *suspended, parts, export, application, network)
    }
}

/// Hex sha256 of the canonical JSON of `value`, for labels and comparisons; equal content has an equal digest.
pub fn content_digest(value: &impl Serialize) -> String {
    sha256(value)
}

/// `words-hash10`, at most 63 characters. Long words are cut; the hash keeps the names distinct.
pub fn object_name(words: &[&str], digest: &str) -> String {
    let joined = words.join("-").to_ascii_lowercase();
    let prefix: String = joined.chars().filter(char::is_ascii).take(MAX_NAME - HASH_IN_NAME - 1).collect();
    let prefix = prefix.trim_end_matches(|last: char| !last.is_ascii_alphanumeric());
    let hash = digest.get(..HASH_IN_NAME).unwrap_or(digest);
    format!("{prefix}-{hash}")
}

fn sha256(value: &impl Serialize) -> String {
    let mut text = String::new();
    // The types of this crate have string keys and no failing serializer.
    write_canonical(&serde_json::to_value(value).unwrap_or_default(), &mut text);
    Sha256::digest(text).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Writes JSON with sorted keys and no white space, independent of the order in which a map keeps its keys.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            text.push('{');
            for (position, (key, value)) in entries.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                let _ = write!(text, "{}:", Value::from(key.as_str()));
                write_canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        scalar => {
            let _ = write!(text, "{scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_keys_does_not_change_a_digest() {
        assert_eq!(
            sha256(&json!({"a": 1, "b": [{"c": 2, "d": 3}]})),
            sha256(&json!({"b": [{"d": 3, "c": 2}], "a": 1}))
        );
        assert_ne!(sha256(&json!({"a": [1, 2]})), sha256(&json!({"a": [2, 1]})));
    }

    #[test]
    fn a_digest_is_the_sha256_of_json_without_white_space() {
        // printf '{"a":1}' | sha256sum
        assert_eq!(sha256(&json!({"a": 1})), "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862");
    }

    #[test]
    fn a_long_name_is_cut_and_stays_a_name() {
        let digest = "0123456789abcdef";
        let name = object_name(&["tracingpolicy", &format!("{}.{}", "a".repeat(37), "b".repeat(200))], digest);
        assert_eq!(name, format!("tracingpolicy-{}-0123456789", "a".repeat(37)));
        assert!(object_name(&["x", &"y".repeat(253)], digest).len() <= 63);
    }
}
