//! Messages about the requests of an AppProfile: how many rows there are, or why there are none and what to do.

use trilobite_crds::{
    NodeCounts, RequestProtocol, RequestRole,
    app_profile::TlsCapture,
    condition::{MAX_MESSAGE, cut},
    node::RequestsSession,
    status::{InvisibleTls, RequestsStatus},
};

use crate::status::counts::{counted, nodes, number};

/// Most kinds of processes that a message names.
const MAX_KINDS: usize = 3;
/// Most characters of a program's name in a message.
const MAX_BINARY: usize = 24;

/// What was lost on the way to rows.
fn lost(seen: &RequestsStatus) -> i64 {
    seen.lost_ring.saturating_add(seen.lost_budget).saturating_add(seen.lost_parse)
}

/// How many rows there are, for the condition Completed.
pub(in crate::status) fn rows_of_nodes(seen: Option<&RequestsStatus>) -> String {
    let none = RequestsStatus::default();
    let seen = seen.unwrap_or(&none);
    format!("{} from {}, {} lost", counted(seen.total_rows, "row"), nodes(seen.nodes), number(lost(seen)))
}

/// Rows by protocol, and what they lack.
pub(in crate::status) fn rows_seen(seen: &RequestsStatus) -> String {
    let by_protocol = seen.rows.iter().filter(|rows| rows.rows > 0);
    let by_protocol = by_protocol.map(|rows| format!("{} {}", rows.protocol, number(rows.rows)));
    let by_protocol: Vec<_> = by_protocol.take(MAX_KINDS + 1).collect();
    let lost = match (lost(seen), seen.gaps) {
        (0, 0) => "nothing was lost".into(),
        (lost, gaps) => format!("{} lost, {}", number(lost), counted(gaps, "gap")),
    };
    let rows = counted(seen.total_rows, "row");
    let text = format!("{rows} from {}: {}; {lost}", nodes(seen.nodes), by_protocol.join(", "));
    let encrypted = match seen.encrypted {
        0 => String::new(),
        encrypted => format!("; {} carry TLS that is not decrypted{}", counted(encrypted, "connection"), kinds(seen)),
    };
    let whole = format!("{text}{encrypted}");
    if whole.chars().count() <= MAX_MESSAGE { whole } else { cut(&text, MAX_MESSAGE) }
}

pub(in crate::status) fn no_report_of_requests(counts: &NodeCounts) -> String {
    format!("waiting for the first report of {}", nodes(counts.desired))
}

pub(in crate::status) fn no_pods_in_namespaces() -> &'static str {
    "no running pod is in a namespace that spec.application.namespaceSelector selects; compare it with kubectl get namespaces \
     --show-labels"
}

/// Nothing was seen, or nothing that is kept.
pub(in crate::status) fn no_traffic(seen: &RequestsStatus, asked: &RequestsSession) -> String {
    let pods = counted(seen.pods, "pod");
    if seen.connections == 0 {
        let ports = list(asked.ports.iter().map(u16::to_string), 6);
        let only = if ports.is_empty() { String::new() } else { format!(" on the ports {ports} of requests.ports") };
        return format!(
            "{pods} on {} neither sent nor received anything{only}; send a request, or wait",
            nodes(seen.nodes)
        );
    }
    let connections = counted(seen.connections, "connection");
    if let lost @ 1.. = lost(seen) {
        return format!(
            "{connections} of {pods} followed, and {} lost before a row was made; see the counts lost* in status.requests",
            counted(lost, "record")
        );
    }
    match kept_only(asked) {
        Some(only) => {
            format!("{connections} of {pods} followed, and only what {only} is kept; ask for more, or wait")
        }
        None => format!("{connections} of {pods} followed, and no request on them was answered yet; send one, or wait"),
    }
}

/// Which requests are kept, if not all are.
fn kept_only(asked: &RequestsSession) -> Option<String> {
    let slower =
        (asked.slower_than_ms > 0).then(|| format!("took longer than {} ms", number(signed(asked.slower_than_ms))));
    let failed = asked.only_errors.then(|| "ended in an error".to_owned());
    let both: Vec<_> = slower.into_iter().chain(failed).collect();
    (!both.is_empty()).then(|| both.join(" and "))
}

/// The pods speak protocols that are not decoded.
pub(in crate::status) fn other_protocol(seen: &RequestsStatus) -> String {
    let is_supported = |name: &str| name.parse().is_ok_and(RequestProtocol::is_supported);
    let (left_out, others): (Vec<_>, Vec<_>) =
        seen.other_protocols.iter().map(String::as_str).partition(|name| is_supported(name));
    let left_out = list(left_out.into_iter().map(str::to_owned), 4);
    let others = list(others.into_iter().map(|name| cut(name, 16)), 4);
    let supported = RequestProtocol::supported_words();
    match (left_out.as_str(), others.as_str()) {
        ("", others) => format!("the pods speak {others}, which is not supported; supported are {supported}"),
        (left_out, "") => {
            format!("the pods speak {left_out}, which requests.protocols leaves out; add it there")
        }
        (left_out, others) => format!(
            "the pods speak {left_out}, which requests.protocols leaves out, and {others}, which is not supported; add {left_out} \
             there"
        ),
    }
}

/// The pods speak TLS that is not decrypted.
pub(in crate::status) fn encrypted(seen: &RequestsStatus, asked: &RequestsSession) -> String {
    let connections = counted(seen.encrypted, "connection");
    if asked.tls == TlsCapture::Off {
        return format!("the pods send TLS on {connections}, and requests.tls is Off; set it to Auto");
    }
    let kinds = match kinds(seen) {
        kinds if kinds.is_empty() => format!(" on {connections}"),
        kinds => kinds,
    };
    format!("the pods send TLS that is not decrypted{kinds}; docs/why-no-rows.md says which libraries are")
}

/// `: 3 processes of java (jsse), 1 process of api (go) and 2 more`; empty where no process is known.
fn kinds(seen: &RequestsStatus) -> String {
    let kind = |kind: &InvisibleTls| {
        let processes = format!("{} process{}", number(kind.processes), if kind.processes == 1 { "" } else { "es" });
        format!("{processes} of {} ({})", cut(&kind.binary, MAX_BINARY), cut(&kind.reason, 16))
    };
    let text = list(seen.tls_not_visible.iter().map(kind), MAX_KINDS);
    if text.is_empty() { text } else { format!(": {text}") }
}

/// The pods have only the other role.
pub(in crate::status) fn role_not_seen(seen: &RequestsStatus, asked: &RequestsSession) -> String {
    let other = match asked.roles.first() {
        Some(RequestRole::Server) => RequestRole::Client,
        _ => RequestRole::Server,
    };
    let connections = counted(seen.other_role, "connection");
    format!(
        "the pods are the {} in all of their {connections}, which requests.roles leaves out; ask for {other:?}",
        other.as_str()
    )
}

/// `a, b and 2 more`.
fn list(items: impl ExactSizeIterator<Item = String>, most: usize) -> String {
    let more = items.len().saturating_sub(most);
    let text = items.take(most).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
