//! FlowFilters by address and port. Addresses are compared as addresses, however they are spelled; Hubble compares their text.

use std::net::IpAddr;

use ipnet::IpNet;

use super::predicate::BuildResult;
use crate::layers::network::flow::Flow;

pub(super) fn ip(wanted: &[String], of: fn(&Flow) -> IpAddr) -> BuildResult {
    let mut networks = Vec::new();
    for text in wanted {
        if text.contains('/') {
            networks.push(network(text).ok_or_else(|| format!("{text} is not a network"))?);
        } else {
            // The zone of a link-local address is the reader's own.
            let address = text.split('%').next().unwrap_or_default().parse::<IpAddr>();
            let address = address.map_err(|_| format!("{text} is not an address"))?;
            networks.push(IpNet::from(address.to_canonical()));
        }
    }
    Ok(Box::new(move |flow| {
        let address = of(flow).to_canonical();
        networks.iter().any(|network| network.contains(&address))
    }))
}

/// `::ffff:10.1.0.0/112` is 10.1.0.0/16.
fn network(text: &str) -> Option<IpNet> {
    const MAPPED: u8 = 96;
    let network = text.parse::<IpNet>().ok()?;
    match (network, network.addr().to_canonical()) {
        (IpNet::V6(v6), address @ IpAddr::V4(_)) if v6.prefix_len() >= MAPPED => {
            IpNet::new(address, v6.prefix_len() - MAPPED).ok()
        }
        _ => Some(network),
    }
}

/// A protocol without ports has none that matches.
pub(super) fn port(wanted: &[String], of: fn(&Flow) -> Option<u16>) -> BuildResult {
    let parse = |text: &String| text.parse::<u16>().map_err(|_| format!("{text} is not a port"));
    let ports = wanted.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(move |flow| of(flow).is_some_and(|port| ports.contains(&port))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::flow::{
        L4,
        samples::{drop_by_policy, syn},
    };

    fn from(wanted: &str) -> Result<bool, String> {
        ip(&[wanted.to_owned()], |flow| flow.source.ip()).map(|test| test(&syn()))
    }

    #[test]
    fn network_contains_its_addresses() {
        for (wanted, answer) in [
            ("10.1.0.7", true),
            ("10.1.0.0/24", true),
            ("10.1.0.8/29", false),
            ("0.0.0.0/0", true),
            ("::/0", false),
            ("::ffff:10.1.0.7", true),
            ("::ffff:10.1.0.0/120", true),
            ("::ffff:10.1.1.0/120", false),
        ] {
            assert_eq!(from(wanted), Ok(answer), "{wanted}");
        }
    }

    #[test]
    fn address_matches_in_every_spelling() {
        let mut flow = syn();
        flow.source.set_ip("fd00:1::7".parse().unwrap());
        for (wanted, answer) in [
            ("fd00:1::7", true),
            ("FD00:0001::0007", true),
            ("fd00:1:0:0:0:0:0:7", true),
            ("fd00:1::7%eth0", true),
            ("fd00:1:0::/48", true),
            ("fd00:1::7/128", true),
            ("fd00:1::8", false),
        ] {
            let test = ip(&[wanted.to_owned()], |flow| flow.source.ip()).unwrap();
            assert_eq!(test(&flow), answer, "{wanted}");
        }
    }

    #[test]
    fn ping_has_no_port() {
        let test = port(&["0".to_owned(), "80".to_owned()], Flow::destination_port).unwrap();
        let mut ping = Flow { l4: L4::Icmp { v6: false, kind: 8, code: 0 }, ..drop_by_policy() };
        ping.destination.set_port(0);
        assert!(test(&drop_by_policy()) && !test(&ping));
    }

    #[test]
    fn invalid_addresses_are_refused() {
        for wanted in ["10.1.0", "10.1.0.0/33", "10.1.0.0/+8", "shop"] {
            assert!(from(wanted).is_err(), "{wanted}");
        }
    }
}
