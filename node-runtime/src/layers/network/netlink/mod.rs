//! The few rtnetlink requests that the layer needs: the interfaces, the local addresses, and the id of a process's network
//! namespace. They need no privilege and enter no other namespace.

mod message;
mod socket;

use std::{collections::HashSet, io, net::IpAddr};

use message::{Attributes, Request};
use socket::Socket;

/// An interface of this network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkLink {
    pub index: u32,
    pub name: String,
    /// `veth`, `bridge`, ...; empty for hardware.
    pub kind: String,
    pub up: bool,
    pub loopback: bool,
    /// Namespace of its other end, by the id that it has in this namespace.
    pub peer_namespace: Option<i32>,
}

const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const RTM_GETTFILTER: u16 = 46;
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_LINK_NETNSID: u16 = 37;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const NETNSA_NSID: u16 = 1;
const NETNSA_PID: u16 = 2;
/// Parents of the filters of a clsact qdisc: what comes in, what goes out.
const CLSACT_PARENTS: [u32; 2] = [0xffff_fff2, 0xffff_fff3];
const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;

/// All interfaces. The request makes the kernel assign ids to the namespaces of their other ends, so call it before
/// `namespace_of`.
pub fn links() -> io::Result<Vec<NetworkLink>> {
    let answers = Socket::open()?.dump(&Request::new(RTM_GETLINK, &[0; 16]))?;
    Ok(answers.iter().filter_map(|answer| link(&answer.body)).collect())
}

/// Addresses of this network namespace.
pub fn addresses() -> io::Result<HashSet<IpAddr>> {
    let answers = Socket::open()?.dump(&Request::new(RTM_GETADDR, &[0; 8]))?;
    Ok(answers.iter().flat_map(|answer| address(&answer.body)).collect())
}

/// The id of a process's network namespace in this namespace; none if no interface leads there.
pub fn namespace_of(pid: u32) -> io::Result<Option<i32>> {
    let request = Request::new(RTM_GETNSID, &[0; 4]).with(NETNSA_PID, &pid.to_ne_bytes());
    let answers = Socket::open()?.ask(&request)?;
    let number = answers.iter().filter(|answer| answer.kind == RTM_NEWNSID).find_map(|answer| {
        let found = Attributes::behind(&answer.body, 4).find(|(kind, _)| *kind == NETNSA_NSID)?;
        found.1.try_into().ok().map(i32::from_ne_bytes)
    });
    Ok(number.filter(|number| *number >= 0))
}

/// The clsact qdisc of an interface has a filter.
pub fn has_filters(interface: u32) -> io::Result<bool> {
    for parent in CLSACT_PARENTS {
        // A struct tcmsg: the interface is its second word, the parent its fourth.
        let words = [0, interface, 0, parent, 0].map(u32::to_ne_bytes).concat();
        if !Socket::open()?.dump(&Request::new(RTM_GETTFILTER, &words))?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn link(body: &[u8]) -> Option<NetworkLink> {
    let word = |at: usize| body.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let flags = word(8)?;
    let mut link = NetworkLink {
        index: word(4)?,
        up: flags & IFF_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        ..NetworkLink::default()
    };
    for (kind, value) in Attributes::behind(body, 16) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_LINKINFO => {
                let info = Attributes::behind(value, 0).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = info.map(|(_, value)| text(value)).unwrap_or_default();
            }
            IFLA_LINK_NETNSID => link.peer_namespace = value.try_into().ok().map(i32::from_ne_bytes),
            _ => {}
        }
    }
    Some(link)
}

fn address(body: &[u8]) -> Vec<IpAddr> {
    Attributes::behind(body, 8)
        .filter(|(kind, _)| matches!(*kind, IFA_ADDRESS | IFA_LOCAL))
        .filter_map(|(_, value)| match value.len() {
            4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
            _ => None,
        })
        .collect()
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_with_its_address() {
        let loopback = links().unwrap().into_iter().find(|link| link.loopback).unwrap();
        assert_eq!(loopback.name, "lo");
        assert_eq!(loopback.index, 1);
        assert!(addresses().is_ok());
    }

    #[test]
    fn process_of_this_namespace_is_behind_no_interface() {
        assert_eq!(namespace_of(std::process::id()).unwrap(), None);
    }

    #[test]
    fn ended_process_is_an_error() {
        assert!(namespace_of(u32::MAX / 4).is_err());
    }
}
