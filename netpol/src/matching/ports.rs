//! Sets of ports: numbers and ranges of each protocol, and names.

use super::ranges::Ranges;
use crate::connection::{Connection, Protocol};

const ALL_PORTS: (u16, u16) = (0, u16::MAX);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortSet {
    tcp: Ranges<u16>,
    udp: Ranges<u16>,
    sctp: Ranges<u16>,
    /// With the protocol, where the rule asks for one.
    names: Box<[(Option<Protocol>, Box<str>)]>,
}

#[derive(Default)]
pub(crate) struct PortsBuilder {
    ranges: [Vec<(u16, u16)>; 3],
    names: Vec<(Option<Protocol>, Box<str>)>,
}

impl PortsBuilder {
    pub(crate) fn add_range(&mut self, protocol: Protocol, first: u16, last: u16) {
        self.ranges[protocol as usize].push((first, last));
    }

    pub(crate) fn add_all_of(&mut self, protocol: Protocol) {
        self.ranges[protocol as usize].push(ALL_PORTS);
    }

    pub(crate) fn add_name(&mut self, protocol: Option<Protocol>, name: &str) {
        self.names.push((protocol, name.into()));
    }

    pub(crate) fn build(self) -> PortSet {
        let [tcp, udp, sctp] = self.ranges.map(Ranges::new);
        PortSet { tcp, udp, sctp, names: self.names.into() }
    }
}

impl PortSet {
    /// The port is the server's, and so are the names, in both directions.
    pub(crate) fn contains(&self, connection: &Connection<'_>) -> bool {
        let Connection { server, protocol, port, .. } = connection;
        let numbers = match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
            Protocol::Sctp => &self.sctp,
        };
        let is_named = |(named_protocol, name): &(Option<Protocol>, Box<str>)| {
            named_protocol.is_none_or(|named| named == *protocol)
                && server.pod().is_some_and(|pod| pod.has_named_port(name, *protocol, *port))
        };
        numbers.contains(*port) || self.names.iter().any(is_named)
    }
}
