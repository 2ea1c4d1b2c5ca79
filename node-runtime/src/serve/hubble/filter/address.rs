//! FlowFilters by address and port. An address without a slash is compared with the text of the flow's address, as
//! Hubble does: an unusual spelling matches nothing.

use std::net::IpAddr;

use ipnet::IpNet;

use super::predicate::BuildResult;
use crate::layers::network::flow::Flow;

pub(super) fn ip(wanted: &[String], of: fn(&Flow) -> IpAddr) -> BuildResult {
    let mut addresses = Vec::new();
    let mut networks = Vec::new();
    for text in wanted {
        if text.contains('/') {
            networks.push(text.parse::<IpNet>().map_err(|_| format!("{text} is not a network"))?);
        } else if text.split('%').next().unwrap_or_default().parse::<IpAddr>().is_err() {
            return Err(format!("{text} is not an address"));
        } else {
            addresses.push(text.clone());
        }
    }
    Ok(Box::new(move |flow| {
        let address = of(flow);
        addresses.contains(&address.to_string()) || networks.iter().any(|network| network.contains(&address))
    }))
}

pub(super) fn port(wanted: &[String], of: fn(&Flow) -> u16) -> BuildResult {
    let parse = |text: &String| text.parse::<u16>().map_err(|_| format!("{text} is not a port"));
    let ports = wanted.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(move |flow| ports.contains(&of(flow))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::flow::tests::syn;

    fn from(wanted: &str) -> Result<bool, String> {
        ip(&[wanted.to_owned()], |flow| flow.source.ip()).map(|test| test(&syn()))
    }

    #[test]
    fn network_contains_its_addresses() {
        for (wanted, answer) in
            [("10.1.0.7", true), ("10.1.0.0/24", true), ("10.1.0.8/29", false), ("0.0.0.0/0", true), ("::/0", false)]
        {
            assert_eq!(from(wanted), Ok(answer), "{wanted}");
        }
    }

    #[test]
    fn invalid_addresses_are_refused() {
        for wanted in ["10.1.0", "10.1.0.0/33", "10.1.0.0/+8", "shop"] {
            assert!(from(wanted).is_err(), "{wanted}");
        }
    }
}
