//! One unit of the layer: who asked for flows, of which pods, of what kind, and where they go besides the node's history.

use trilobite_crds::node::{FlowOutput, FlowsPart, FlowsSession, PodScope};

use super::{flow::Flow, record::Transport, tap::Sizes};
use crate::{export::lines::Lines, identity::Slot, layers::UnitCount};

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Whose interfaces are watched.
    pub scope: PodScope,
    /// Somebody asked for these pods for a time, and hears of those that cannot be had.
    pub session: bool,
    /// Only flows with one of these ports on either end; empty means all.
    pub ports: Vec<u16>,
    /// Only these; empty means both.
    pub transports: Vec<Transport>,
    /// Besides the history.
    pub output: Vec<FlowOutput>,
    /// What the kernel is to keep at least.
    pub sizes: Sizes,
}

/// A unit in force.
pub(super) struct Unit {
    pub(super) wish: Wish,
    pub(super) outlets: Vec<Lines>,
    /// Held so that the namespaces' labels and the pods' cgroups are followed.
    pub(super) _slot: Option<Slot>,
    /// No longer wanted: it gets what its flows have still to say.
    pub(super) leaving: bool,
    pub(super) count: UnitCount,
    /// Losses of the layer when it began.
    pub(super) lost_before: u64,
    /// So many of the layer's losses have been told to its outlets, or were before it.
    pub(super) lost_told: u64,
}

impl Wish {
    /// What the stack asks for.
    pub fn of_part(part: &FlowsPart) -> Self {
        Self {
            scope: part.pods.clone(),
            session: false,
            ports: Vec::new(),
            transports: Vec::new(),
            output: Vec::new(),
            sizes: Sizes { flow_entries: part.flow_entries, ring_bytes: part.ring_bytes },
        }
    }

    /// What a FlowCapture asks for.
    pub fn of_session(session: &FlowsSession) -> Self {
        let transport = |name: &String| match name.as_str() {
            "TCP" => Some(Transport::Tcp),
            "UDP" => Some(Transport::Udp),
            _ => None,
        };
        Self {
            scope: session.pods.clone(),
            session: true,
            ports: session.ports.clone(),
            transports: session.protocols.iter().filter_map(transport).collect(),
            output: session.output.clone(),
            sizes: Sizes { flow_entries: session.flow_entries, ring_bytes: session.ring_bytes },
        }
    }

    /// A flow of a watched interface is one that was asked for.
    pub fn wants(&self, flow: &Flow) -> bool {
        (self.ports.is_empty() || flow.has_port(&self.ports))
            && (self.transports.is_empty() || self.transports.contains(&flow.transport))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::flow::tests::syn;

    #[test]
    fn a_capture_takes_its_ports_on_either_end_and_its_protocols() {
        let session = |ports: &[u16], protocols: &[&str]| {
            Wish::of_session(&FlowsSession {
                pods: PodScope::default(),
                ports: ports.to_vec(),
                protocols: protocols.iter().map(|name| (*name).to_owned()).collect(),
                output: Vec::new(),
                flow_entries: 256,
                ring_bytes: 4096,
            })
        };
        for (ports, protocols, wanted) in [
            (&[][..], &[][..], true),
            (&[80], &["TCP"], true),
            (&[443, 40000], &["TCP", "UDP"], true),
            (&[443], &[], false),
            (&[80], &["UDP"], false),
        ] {
            assert_eq!(session(ports, protocols).wants(&syn()), wanted, "{ports:?} {protocols:?}");
        }
    }
}
