//! Which requests are captured, and what is kept of them.

use std::{fmt, str::FromStr, sync::LazyLock};

use kube::KubeSchema;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError};

use crate::bounds::{self, MAX_PORT, MIN_PORT, check_ports};

/// Most bytes of a body that a row keeps.
const MAX_PAYLOAD: i32 = 65_536;
/// Longest wait for an answer that can be asked for: an hour.
const MAX_SLOWER_THAN_MS: i64 = 3_600_000;
/// Longest name of a header.
const MAX_HEADER: usize = 128;

/// The name of a header of HTTP.
static HEADER_NAME: LazyLock<Regex> = LazyLock::new(|| bounds::pattern(HEADER_PATTERN));
const HEADER_PATTERN: &str = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$";

/// Which requests are captured, and what is kept of them.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestsSpec {
    /// Captures only these protocols, e.g. `[http, pgsql]`. Unset captures every protocol that is supported: http, pgsql, redis,
    /// dns, http2, grpc, mysql and kafka. The others are known, and answered with `Unsupported`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub protocols: Vec<RequestProtocol>,
    /// Captures only connections with one of these ports on either end, e.g. `[5432]`. Unset captures every port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(min = MIN_PORT, max = MAX_PORT)))]
    #[validate(length(max = 32), custom(function = check_ports))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub ports: Vec<i32>,
    /// Captures only connections in which the pods have one of these roles, e.g. `[Server]`. Unset captures both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub roles: Vec<RequestRole>,
    /// Whether requests inside TLS are read, by probes on the functions of the TLS library. `"Off"` needs its quotes: YAML reads
    /// a bare Off as false.
    #[serde(default)]
    pub tls: TlsCapture,
    /// Keeps only requests whose answer took longer, in milliseconds, e.g. 100. Unset keeps all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(range(min = 1, max = MAX_SLOWER_THAN_MS))]
    pub slower_than_ms: Option<i64>,
    /// Keeps only requests that were answered with an error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_errors: bool,
    /// What is kept of bodies. Unset keeps none. Refused with `PayloadsNotAllowed` unless the stack's
    /// `spec.application.allowPayloads` selects the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub payload: Option<PayloadSpec>,
    /// What is replaced by `<redacted>` before a row exists, in addition to what always is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub redact: Option<RedactSpec>,
}

/// An application protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RequestProtocol {
    /// HTTP/1.0, 1.1 and 2, with the gRPC calls on it.
    Http,
    /// PostgreSQL.
    Pgsql,
    /// Redis, RESP2 and RESP3.
    Redis,
    /// DNS over UDP and TCP.
    Dns,
    /// HTTP/2 alone, with the gRPC calls on it.
    Http2,
    /// The gRPC calls of HTTP/2 alone.
    Grpc,
    /// MySQL and MariaDB.
    Mysql,
    /// Kafka.
    Kafka,
    /// MongoDB; not supported yet.
    Mongodb,
    /// AMQP; not supported yet.
    Amqp,
    /// NATS; not supported yet.
    Nats,
    /// Cassandra's CQL; not supported yet.
    Cql,
    /// MQTT; not supported yet.
    Mqtt,
}

/// The word is not a protocol that this version knows.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a known protocol")]
pub struct UnknownProtocol(pub String);

impl RequestProtocol {
    /// Every protocol with a word of its own, supported or not.
    pub const ALL: [Self; 13] = [
        Self::Http,
        Self::Pgsql,
        Self::Redis,
        Self::Dns,
        Self::Http2,
        Self::Grpc,
        Self::Mysql,
        Self::Kafka,
        Self::Mongodb,
        Self::Amqp,
        Self::Nats,
        Self::Cql,
        Self::Mqtt,
    ];
    /// The protocols that agents decode.
    pub const SUPPORTED: [Self; 8] =
        [Self::Http, Self::Pgsql, Self::Redis, Self::Dns, Self::Http2, Self::Grpc, Self::Mysql, Self::Kafka];

    /// The word of the API, e.g. `pgsql`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Pgsql => "pgsql",
            Self::Redis => "redis",
            Self::Dns => "dns",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Mysql => "mysql",
            Self::Kafka => "kafka",
            Self::Mongodb => "mongodb",
            Self::Amqp => "amqp",
            Self::Nats => "nats",
            Self::Cql => "cql",
            Self::Mqtt => "mqtt",
        }
    }

    /// The words of the protocols that agents decode, for messages: `http, pgsql, ...`.
    pub fn supported_words() -> String {
        Self::SUPPORTED.map(Self::as_str).join(", ")
    }

    /// Whether agents decode it.
    pub fn is_supported(self) -> bool {
        Self::SUPPORTED.contains(&self)
    }
}

impl fmt::Display for RequestProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RequestProtocol {
    type Err = UnknownProtocol;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|protocol| protocol.as_str() == word);
        known.ok_or_else(|| UnknownProtocol(word.into()))
    }
}

/// Which end of a connection a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum RequestRole {
    /// The pod sends the requests.
    Client,
    /// The pod answers the requests.
    Server,
}

impl RequestRole {
    /// The word in messages: `client` or `server`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// Whether requests inside TLS are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TlsCapture {
    /// Wherever the library of a process is supported; the status lists the others.
    #[default]
    Auto,
    /// No probe is placed in any process.
    Off,
}

/// What is kept of bodies.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PayloadSpec {
    /// Most bytes that are kept of each body, e.g. 512; 0 keeps none.
    #[serde(default)]
    #[validate(range(min = 0, max = MAX_PAYLOAD))]
    pub max_bytes: i32,
}

/// What is replaced by `<redacted>`.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedactSpec {
    /// What becomes of literals in SQL, of values of Redis and of values of query parameters. `Keep` is refused with
    /// `PayloadsNotAllowed` unless the stack's `spec.application.allowPayloads` selects the namespace.
    #[serde(default)]
    pub literals: Literals,
    /// Names of headers whose values are replaced, e.g. `[X-Api-Key]`, in addition to Authorization, Proxy-Authorization,
    /// Cookie and Set-Cookie. Upper and lower case are the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1, max = MAX_HEADER), regex(pattern = HEADER_PATTERN)))]
    #[validate(length(max = 32), custom(function = check_headers))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub headers: Vec<String>,
}

/// What becomes of literals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Literals {
    /// A placeholder stands for each.
    #[default]
    Replace,
    /// They stay as they are.
    Keep,
}

impl RequestsSpec {
    /// The field that asks for content of users' data, if one does.
    pub fn content_field(&self) -> Option<&'static str> {
        if self.payload.as_ref().is_some_and(|payload| payload.max_bytes > 0) {
            return Some("payload.maxBytes");
        }
        self.redact.as_ref().filter(|redact| redact.literals == Literals::Keep).map(|_| "redact.literals")
    }
}

fn check_headers(headers: &[String]) -> Result<(), ValidationError> {
    bounds::check_items(headers, |header| {
        let wrong = || format!("{header:?} must be the name of a header, e.g. X-Api-Key");
        bounds::length_problem(header, 1, MAX_HEADER).or_else(|| (!HEADER_NAME.is_match(header)).then(wrong))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_protocols_are_those_of_the_schema() {
        for protocol in RequestProtocol::ALL {
            assert_eq!(serde_json::to_value(protocol).unwrap(), protocol.as_str());
            assert_eq!(protocol.as_str().parse(), Ok(protocol));
        }
        assert!("HTTP".parse::<RequestProtocol>().is_err());
        assert!(RequestProtocol::SUPPORTED.iter().all(|protocol| RequestProtocol::ALL.contains(protocol)));
    }

    #[test]
    fn supported_protocols_are_those_that_have_a_parser() {
        let parsed = trilobite_protocols::Name::ALL.map(trilobite_protocols::Name::as_str);
        assert_eq!(RequestProtocol::SUPPORTED.map(RequestProtocol::as_str), parsed);
    }

    #[test]
    fn wrong_ports_and_headers_are_named_by_their_index() {
        let spec = RequestsSpec {
            ports: vec![5432, 0, 65536],
            redact: Some(RedactSpec { headers: vec!["X-Key".into(), "a b".into()], ..RedactSpec::default() }),
            ..RequestsSpec::default()
        };
        let found: Vec<_> = bounds::violations(&spec, "spec.requests").iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "spec.requests.ports[1]: 0 must be at least 1",
                "spec.requests.ports[2]: 65536 must be at most 65535",
                "spec.requests.redact.headers[1]: \"a b\" must be the name of a header, e.g. X-Api-Key",
            ]
        );
    }

    #[test]
    fn only_bodies_and_literals_are_content() {
        let spec = |value| serde_json::from_value::<RequestsSpec>(value).unwrap().content_field();
        assert_eq!(spec(serde_json::json!({})), None);
        assert_eq!(spec(serde_json::json!({"payload": {}, "redact": {"headers": ["X-Key"]}})), None);
        assert_eq!(spec(serde_json::json!({"payload": {"maxBytes": 1}})), Some("payload.maxBytes"));
        assert_eq!(spec(serde_json::json!({"redact": {"literals": "Keep"}})), Some("redact.literals"));
    }
}
