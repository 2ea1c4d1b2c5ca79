//! A decision as one line for people.

use std::fmt::Write;

use crate::{
    connection::{Connection, Peer, PeerText},
    decision::{Decision, Side, Verdict},
    policy_name::PolicyName,
};

/// Names of policies in a text; the rest is counted.
const NAMES_MAX: usize = 3;

impl Decision {
    /// One line about the connection that it was made of, e.g. "denied: NetworkPolicy shop/default-deny isolates shop/web-0,
    /// and no policy allows TCP 8080 from payments/cart-1".
    pub fn explain(&self, connection: &Connection<'_>) -> String {
        let Connection { client, client_ip, server, server_ip, .. } = connection;
        let egress = PeersOfSide { pod: client, direction: "to", other: PeerText(server, *server_ip) };
        let ingress = PeersOfSide { pod: server, direction: "from", other: PeerText(client, *client_ip) };
        let sides = [(&self.egress, egress), (&self.ingress, ingress)];
        let wanted = if self.is_allowed() { Verdict::Allowed } else { Verdict::Denied };
        let reasons: Vec<String> = sides
            .iter()
            .filter(|(side, _)| side.verdict == wanted)
            .filter_map(|(side, peers)| side.reason(peers, connection))
            .collect();
        match wanted {
            Verdict::Allowed if reasons.is_empty() => "allowed: no policy decides".into(),
            Verdict::Allowed => format!("allowed: {}", reasons.join("; ")),
            Verdict::Denied => format!("denied: {}", reasons.join("; ")),
        }
    }
}

/// The pod whose policies were asked, and the other end.
struct PeersOfSide<'a> {
    pod: &'a Peer<'a>,
    direction: &'static str,
    other: PeerText<'a>,
}

impl Side {
    /// None where no policy decided.
    fn reason(&self, peers: &PeersOfSide<'_>, connection: &Connection<'_>) -> Option<String> {
        let PeersOfSide { pod, direction, other } = peers;
        let what = format!("{} {} {direction} {other}", connection.protocol.as_str(), connection.port);
        let mut text = if !self.isolated_by.is_empty() {
            // Only pods are isolated.
            let pod = pod.pod().map_or_else(String::new, |pod| format!("{}/{}", pod.namespace, pod.name));
            let (isolates, policies) = (verb(&self.isolated_by, "isolate"), names(&self.isolated_by));
            format!("{policies} {isolates} {pod}, and no policy allows {what}")
        } else if !self.denied_by.is_empty() {
            format!("{} {} {what}", names(&self.denied_by), if self.denied_by.len() == 1 { "denies" } else { "deny" })
        } else if !self.allowed_by.is_empty() {
            format!("{} {} {what}", names(&self.allowed_by), verb(&self.allowed_by, "allow"))
        } else {
            return None;
        };
        if !self.undecided_by.is_empty() {
            let policies = names(&self.undecided_by);
            // Writing to a string does not fail.
            let _ = write!(text, " (unless a domain name of {policies} stands for the address)");
        }
        Some(text)
    }
}

fn verb(policies: &[PolicyName], verb: &str) -> String {
    format!("{verb}{}", if policies.len() == 1 { "s" } else { "" })
}

fn names(policies: &[PolicyName]) -> String {
    let shown: Vec<String> = policies.iter().take(NAMES_MAX).map(ToString::to_string).collect();
    match policies.len().saturating_sub(NAMES_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
