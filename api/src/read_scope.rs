//! The scope of a call: the namespaces whose rows it may read. The relay sets it from the API server's answer; the agent
//! applies it before anything else.

use std::{collections::BTreeSet, fmt};

/// Key of the gRPC metadata that carries the scope: namespaces separated by commas, or `*` for the whole cluster.
pub const READ_NAMESPACES: &str = "trilobite-read-namespaces";

/// Key of the metadata with which GetFlows answers: since when the agent has kept every flow, in nanoseconds since 1970. Absent
/// while no flow is recorded.
pub const COMPLETE_SINCE: &str = "trilobite-complete-since-ns";

/// The value for the whole cluster, with processes of the host.
const EVERYTHING: &str = "*";

/// What a call may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadScope {
    /// Everything, with processes outside of any pod and the state of the node.
    Everything,
    /// Rows of the pods of these namespaces; there is at least one.
    Namespaces(BTreeSet<String>),
}

/// The metadata is not a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{READ_NAMESPACES}: {0:?} is not a namespace; name namespaces separated by commas, or `*`")]
pub struct ReadScopeError(String);

impl ReadScope {
    /// One namespace.
    pub fn namespace(name: &str) -> Self {
        Self::Namespaces([name.to_owned()].into())
    }

    /// Reads the metadata's value. An empty list is refused: it would read as "no limit" to one and as "nothing" to another.
    pub fn parse(value: &str) -> Result<Self, ReadScopeError> {
        if value == EVERYTHING {
            return Ok(Self::Everything);
        }
        let name = |name: &str| is_label(name).then(|| name.to_owned()).ok_or_else(|| ReadScopeError(name.to_owned()));
        value.split(',').map(name).collect::<Result<_, _>>().map(Self::Namespaces)
    }

    /// Whether rows of a pod in this namespace may be read. Empty: a process outside of any pod, or one whose pod is unknown.
    pub fn allows(&self, namespace: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Namespaces(names) => names.contains(namespace),
        }
    }

    /// Whether the scope is the whole cluster.
    pub fn is_everything(&self) -> bool {
        *self == Self::Everything
    }
}

impl fmt::Display for ReadScope {
    /// The metadata's value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str(EVERYTHING),
            Self::Namespaces(names) => {
                for (at, name) in names.iter().enumerate() {
                    write!(f, "{}{name}", if at > 0 { "," } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

/// A DNS label, as names of namespaces are.
fn is_label(name: &str) -> bool {
    let inner = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_is_read_back_from_its_text() {
        for text in ["*", "payments", "payments,shop"] {
            assert_eq!(ReadScope::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(ReadScope::parse("shop,payments,shop").unwrap().to_string(), "payments,shop");
    }

    #[test]
    fn anything_but_names_of_namespaces_is_refused() {
        for text in ["", ",", "shop,", "shop,*", "shop, payments", "Shop", "-shop", "shop/cart", "**"] {
            assert!(ReadScope::parse(text).is_err(), "{text:?}");
        }
        assert!(ReadScope::parse(&"s".repeat(64)).is_err());
    }

    #[test]
    fn scope_allows_its_namespaces_and_no_process_of_the_host() {
        let scope = ReadScope::namespace("shop");
        assert!(scope.allows("shop") && !scope.allows("shop2") && !scope.allows("sho") && !scope.allows(""));
        assert!(ReadScope::Everything.allows("shop") && ReadScope::Everything.allows(""));
    }
}
