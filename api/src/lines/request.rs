//! A request as cells of a table.

use crate::requests::{Endpoint, LostRequests, Request};

use super::clock;

/// Texts of workloads are neither escaped nor cut.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestCells {
    pub time: String,
    pub pod: String,
    pub role: String,
    pub protocol: String,
    pub peer: String,
    pub operation: String,
    pub target: String,
    pub status: String,
    pub latency: String,
    /// Of the request and of the response.
    pub bytes: String,
    pub connection: String,
    pub node: String,
    pub mid_stream: String,
    pub profile: String,
}

/// Number of cells.
pub const COLUMNS: usize = 14;

impl RequestCells {
    /// The cells in the order of the columns of `trilobite requests` and of the read API's tables.
    pub fn in_order(self) -> [String; COLUMNS] {
        let Self {
            time,
            pod,
            role,
            protocol,
            peer,
            operation,
            target,
            status,
            latency,
            bytes,
            connection,
            node,
            mid_stream,
            profile,
        } = self;
        [
            time, pod, role, protocol, peer, operation, target, status, latency, bytes, connection, node, mid_stream,
            profile,
        ]
    }
}

/// The cells of a request.
pub fn cells(request: &Request) -> RequestCells {
    let is_client = request.role == "client";
    RequestCells {
        time: request.time.as_ref().map_or_else(|| clock::NO_TIME.to_owned(), clock::milliseconds),
        pod: request.pod.clone(),
        role: request.role.clone(),
        protocol: match request.encrypted {
            true => format!("{} (TLS)", request.protocol),
            false => request.protocol.clone(),
        },
        peer: request.remote.as_ref().map(|remote| peer(remote, is_client)).unwrap_or_default(),
        operation: request.operation.clone(),
        target: request.target.clone(),
        status: request.status.clone(),
        latency: request.latency.as_ref().map(latency).unwrap_or_default(),
        bytes: format!("{}/{}", request.request_bytes, request.response_bytes),
        connection: request.connection.clone(),
        node: request.node.clone(),
        mid_stream: request.mid_stream.to_string(),
        profile: request.profile.clone(),
    }
}

/// What a notice of lost rows says.
pub fn loss(lost: &LostRequests) -> String {
    let why = match lost.place.as_str() {
        "reader" => "they were read too slowly",
        "budget" => "they left the memory before they were read",
        "worker" => "the process that holds them does not answer",
        other => other,
    };
    let of = if lost.profile.is_empty() { String::new() } else { format!(" of {}", lost.profile) };
    match lost.count {
        0 => format!("requests{of} are missing: {why}"),
        count => format!("{count} requests{of} are missing: {why}"),
    }
}

/// `namespace/pod`, the name of what is no pod, or the address. The port is that of a server: a client's says nothing.
fn peer(end: &Endpoint, is_server: bool) -> String {
    let port = if is_server && end.port > 0 { format!(":{}", end.port) } else { String::new() };
    let name = match (end.pod.as_str(), end.name.as_str()) {
        ("", "") => end.ip.as_str(),
        ("", name) => name,
        (pod, _) => pod,
    };
    match end.namespace.as_str() {
        _ if end.pod.is_empty() && end.name.is_empty() && end.ip.contains(':') && !port.is_empty() => {
            format!("[{name}]{port}")
        }
        "" => format!("{name}{port}"),
        namespace => format!("{namespace}/{name}{port}"),
    }
}

/// Three digits and a unit: `85us`, `12.0ms`, `1.50s`.
fn latency(time: &prost_types::Duration) -> String {
    let microseconds = time.seconds.max(0).saturating_mul(1_000_000).saturating_add(i64::from(time.nanos) / 1_000);
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let number = microseconds as f64;
    let (value, unit) = match microseconds {
        ..1_000 => return format!("{microseconds}us"),
        1_000..1_000_000 => (number / 1e3, "ms"),
        _ => (number / 1e6, "s"),
    };
    match value {
        ..9.995 => format!("{value:.2}{unit}"),
        ..99.95 => format!("{value:.1}{unit}"),
        _ => format!("{value:.0}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(ip: &str, namespace: &str, pod: &str, name: &str) -> Endpoint {
        Endpoint { ip: ip.into(), port: 5432, namespace: namespace.into(), pod: pod.into(), name: name.into() }
    }

    #[test]
    fn latency_has_three_digits_and_a_unit() {
        let shown = |nanos: i64| {
            let time = prost_types::Duration {
                seconds: nanos / 1_000_000_000,
                nanos: i32::try_from(nanos % 1_000_000_000).unwrap_or_default(),
            };
            latency(&time)
        };
        for (nanos, text) in [
            (0, "0us"),
            (85_999, "85us"),
            (1_000_000, "1.00ms"),
            (12_000_000, "12.0ms"),
            (312_400_000, "312ms"),
            (1_503_000_000, "1.50s"),
            (75_000_000_000, "75.0s"),
            (i64::MAX, "9223372037s"),
        ] {
            assert_eq!(shown(nanos), text);
        }
    }

    #[test]
    fn peer_is_the_best_name_that_is_known() {
        assert_eq!(peer(&endpoint("10.0.0.9", "shop", "db-0", ""), true), "shop/db-0:5432");
        assert_eq!(peer(&endpoint("10.0.0.9", "shop", "db-0", ""), false), "shop/db-0");
        assert_eq!(peer(&endpoint("10.0.0.9", "shop", "", "db"), true), "shop/db:5432");
        assert_eq!(peer(&endpoint("192.0.2.1", "", "", "world"), true), "world:5432");
        assert_eq!(peer(&endpoint("192.0.2.1", "", "", ""), true), "192.0.2.1:5432");
        assert_eq!(peer(&endpoint("fd00::9", "", "", ""), true), "[fd00::9]:5432");
        assert_eq!(peer(&endpoint("fd00::9", "", "", ""), false), "fd00::9");
    }

    #[test]
    fn loss_says_how_many_and_why() {
        let lost =
            |profile: &str, place: &str, count| LostRequests { profile: profile.into(), place: place.into(), count };
        assert_eq!(loss(&lost("", "reader", 7)), "7 requests are missing: they were read too slowly");
        let stuck = loss(&lost("shop/slow", "worker", 0));
        assert_eq!(stuck, "requests of shop/slow are missing: the process that holds them does not answer");
    }
}
