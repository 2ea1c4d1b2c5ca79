//! By address and port. An address without a slash is held against the text of the flow's, as Hubble does: one that is not
//! written as usual matches nothing.

use std::net::IpAddr;

use super::Built;
use crate::layers::network::flow::Flow;

pub(super) fn ip(wanted: &[String], of: fn(&Flow) -> IpAddr) -> Built {
    let mut addresses = Vec::new();
    let mut networks = Vec::new();
    for text in wanted {
        if text.contains('/') {
            networks.push(network(text).ok_or_else(|| format!("{text} is no network"))?);
        } else if text.split('%').next().unwrap_or_default().parse::<IpAddr>().is_err() {
            return Err(format!("{text} is no address"));
        } else {
            addresses.push(text.clone());
        }
    }
    Ok(Box::new(move |flow| {
        let address = of(flow);
        addresses.contains(&address.to_string()) || networks.iter().any(|network| contains(network, address))
    }))
}

pub(super) fn port(wanted: &[String], of: fn(&Flow) -> u16) -> Built {
    let parse = |text: &String| text.parse::<u16>().map_err(|_| format!("{text} is no port"));
    let ports = wanted.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(move |flow| ports.contains(&of(flow))))
}

fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u32 = length.parse().ok().filter(|_| length == "0" || !length.starts_with(['0', '+']))?;
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

fn contains((network, length): &(IpAddr, u32), address: IpAddr) -> bool {
    let equal = |one: u128, other: u128, bits: u32| *length == 0 || (one ^ other) >> (bits - length) == 0;
    match (network, address) {
        (IpAddr::V4(one), IpAddr::V4(other)) => equal(one.to_bits().into(), other.to_bits().into(), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => equal(one.to_bits(), other.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::flow::tests::syn;

    fn from(wanted: &str) -> Result<bool, String> {
        ip(&[wanted.to_owned()], |flow| flow.source.ip()).map(|test| test(&syn()))
    }

    #[test]
    fn a_network_holds_what_begins_as_it_does() {
        for (wanted, answer) in
            [("10.1.0.7", true), ("10.1.0.0/24", true), ("10.1.0.8/29", false), ("0.0.0.0/0", true), ("::/0", false)]
        {
            assert_eq!(from(wanted), Ok(answer), "{wanted}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wanted in ["10.1.0", "10.1.0.0/33", "10.1.0.0/+8", "shop"] {
            assert!(from(wanted).is_err(), "{wanted}");
        }
    }
}
