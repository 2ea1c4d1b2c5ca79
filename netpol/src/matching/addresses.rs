//! Sets of addresses: networks, less the networks that are excepted from them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::ranges::Ranges;

/// Addresses of both families. A network of one contains nothing of the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddressSet {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// A network of each family as a range.
#[derive(Clone, Copy)]
enum Range {
    V4(u32, u32),
    V6(u128, u128),
}

impl AddressSet {
    /// Each network with its exceptions, which leave the other networks as they are.
    pub(crate) fn new(blocks: &[(IpNet, Vec<IpNet>)]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (network, except) in blocks {
            match range(*network) {
                Range::V4(first, last) => {
                    let except = except.iter().filter_map(|except| match range(*except) {
                        Range::V4(first, last) => Some((u128::from(first), u128::from(last))),
                        Range::V6(..) => None,
                    });
                    // Parts of a range of 32 bits have 32 bits.
                    let parts = without((first.into(), last.into()), except.collect());
                    v4.extend(parts.into_iter().map(|(first, last)| (first as u32, last as u32)));
                }
                Range::V6(first, last) => {
                    let except = except.iter().filter_map(|except| match range(*except) {
                        Range::V6(first, last) => Some((first, last)),
                        Range::V4(..) => None,
                    });
                    v6.extend(without((first, last), except.collect()));
                }
            }
        }
        Self { v4: Ranges::new(v4), v6: Ranges::new(v6) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        }
    }
}

fn range(network: IpNet) -> Range {
    match network {
        IpNet::V4(network) => Range::V4(network.network().to_bits(), network.broadcast().to_bits()),
        IpNet::V6(network) => Range::V6(network.network().to_bits(), network.broadcast().to_bits()),
    }
}

/// The parts of a range that no exception has.
fn without((first, last): (u128, u128), mut except: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    except.sort_unstable();
    let (mut parts, mut next) = (Vec::new(), Some(first));
    for (from, to) in except {
        let Some(start) = next else { break };
        if to < start || from > last {
            continue;
        }
        if from > start {
            parts.push((start, from - 1));
        }
        next = to.checked_add(1).filter(|next| *next <= last);
    }
    parts.extend(next.map(|start| (start, last)));
    parts
}

/// A network as Kubernetes reads it: bits of the host are ignored, so are zeros before the numbers of an IPv4 address, and an
/// IPv4 network written as IPv6 is one of IPv4.
pub(crate) fn parse_network(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let length: u8 = length.bytes().all(|byte| byte.is_ascii_digit()).then(|| length.parse().ok())??;
    let address = address.parse::<IpAddr>().ok().or_else(|| parse_with_zeros(address).map(IpAddr::V4))?;
    match (address, address.to_canonical()) {
        (IpAddr::V6(_), IpAddr::V4(mapped)) if length >= 96 => {
            Ipv4Net::new(mapped, length - 96).ok().map(|network| network.trunc().into())
        }
        _ => IpNet::new(address, length).ok().map(|network| network.trunc()),
    }
}

fn parse_with_zeros(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let digits = is_number.then(|| part.trim_start_matches('0'))?;
        *octet = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    }
    parts.next().is_none().then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> IpNet {
        parse_network(text).unwrap()
    }

    fn set(blocks: &[(&str, &[&str])]) -> AddressSet {
        let blocks: Vec<_> = blocks
            .iter()
            .map(|(block, except)| (network(block), except.iter().map(|text| network(text)).collect()))
            .collect();
        AddressSet::new(&blocks)
    }

    fn contains(set: &AddressSet, address: &str) -> bool {
        set.contains(address.parse().unwrap())
    }

    #[test]
    fn exceptions_leave_holes_in_their_own_block_only() {
        let set = set(&[("10.0.0.0/8", &["10.1.0.0/16", "10.0.0.0/16", "10.255.0.0/16"]), ("10.1.2.0/24", &[])]);
        let inside = ["10.2.0.0", "10.254.255.255", "10.1.2.3"];
        let outside = ["10.0.0.1", "10.1.3.0", "10.255.255.255", "11.0.0.0", "9.255.255.255"];
        assert!(inside.iter().all(|address| contains(&set, address)));
        assert!(!outside.iter().any(|address| contains(&set, address)));
    }

    #[test]
    fn network_of_one_family_has_no_address_of_the_other() {
        let (v4, v6) = (set(&[("0.0.0.0/0", &[])]), set(&[("::/0", &["fd00:1::/32"])]));
        assert!(contains(&v4, "10.0.0.1") && contains(&v4, "255.255.255.255") && !contains(&v4, "fd00::1"));
        assert!(contains(&v6, "fd00::1") && contains(&v6, "ffff:ffff::ffff") && !contains(&v6, "fd00:1::1"));
        assert!(!contains(&v6, "10.0.0.1") && contains(&v4, "::ffff:10.0.0.1"));
    }

    #[test]
    fn exception_of_the_whole_block_leaves_nothing() {
        let set = set(&[("0.0.0.0/0", &["0.0.0.0/1", "128.0.0.0/1"]), ("::/0", &["::/0"])]);
        assert!(!["0.0.0.0", "127.1.1.1", "128.0.0.0", "::", "fd00::1"].iter().any(|address| contains(&set, address)));
    }

    #[test]
    fn networks_are_read_as_kubernetes_reads_them() {
        for (text, read) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("010.001.000.0/16", "10.1.0.0/16"),
            ("::ffff:10.1.0.0/112", "10.1.0.0/16"),
            ("fd00::1/64", "fd00::/64"),
        ] {
            assert_eq!(parse_network(text).unwrap().to_string(), read);
        }
        for text in
            ["", "10.0.0.1", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "a/8", "fd00::/129", "1.2.3.4.5/8"]
        {
            assert_eq!(parse_network(text), None, "{text}");
        }
    }
}
