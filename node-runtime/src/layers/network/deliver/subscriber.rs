//! One subscriber to flows: the stack, or a FlowCapture. Its flows go to the node's buffer, and to the streams of a capture.

use trilobite_crds::node::{FlowOutput, FlowsPart, FlowsSession, PodScope};

use super::stream::StreamSender;
use crate::{
    identity::ScopeLease,
    layers::network::{
        flow::{Flow, L4},
        sources::tcx::MapSizes,
    },
    plan::UnitCount,
};

/// What a subscriber asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriberSpec {
    /// Pods that are watched.
    pub scope: PodScope,
    /// Requested for a time and for certain pods: every pod that cannot be watched is reported.
    pub session: bool,
    /// Only flows with one of these ports on either end; empty for all.
    pub ports: Vec<u16>,
    /// Only these, as a FlowCapture names them; empty for all.
    pub protocols: Vec<String>,
    /// Besides the buffer.
    pub output: Vec<FlowOutput>,
    /// Minimum sizes of the kernel's maps.
    pub sizes: MapSizes,
}

pub(in crate::layers::network) struct Subscriber {
    pub(in crate::layers::network) spec: SubscriberSpec,
    pub(super) streams: Vec<StreamSender>,
    /// Keeps the labels of namespaces and the cgroups of pods followed.
    pub(super) _lease: Option<ScopeLease>,
    /// No longer wanted: it still receives the final records of its flows.
    pub(super) leaving: bool,
    /// Its flows, and what was lost beside the losses of the layer.
    pub(super) count: UnitCount,
    /// Losses of the layer when it subscribed.
    pub(super) lost_before: u64,
    /// Losses of the layer that were reported to its streams, or were before it.
    pub(super) lost_reported: u64,
}

impl Subscriber {
    /// `lost_before` are the losses of the layer so far.
    pub(in crate::layers::network) fn new(
        spec: SubscriberSpec,
        streams: Vec<StreamSender>,
        lease: Option<ScopeLease>,
        lost_before: u64,
    ) -> Self {
        Self {
            spec,
            streams,
            _lease: lease,
            leaving: false,
            count: UnitCount::default(),
            lost_before,
            lost_reported: lost_before,
        }
    }
}

impl SubscriberSpec {
    /// The stack's part.
    pub fn from_part(part: &FlowsPart) -> Self {
        Self {
            scope: PodScope::clone(&part.pods),
            session: false,
            ports: Vec::new(),
            protocols: Vec::new(),
            output: Vec::new(),
            sizes: MapSizes { flow_entries: part.flow_entries, ring_bytes: part.ring_bytes },
        }
    }

    /// A FlowCapture.
    pub fn from_session(session: &FlowsSession) -> Self {
        Self {
            scope: session.pods.clone(),
            session: true,
            ports: session.ports.clone(),
            protocols: session.protocols.clone(),
            output: session.output.clone(),
            sizes: MapSizes { flow_entries: session.flow_entries, ring_bytes: session.ring_bytes },
        }
    }

    /// Whether a flow of a watched interface or pod is wanted.
    pub fn selects(&self, flow: &Flow) -> bool {
        let name = match flow.l4 {
            L4::Tcp => "TCP",
            L4::Udp => "UDP",
            L4::Icmp { .. } => "ICMP",
            L4::Other(_) => "",
        };
        (self.ports.is_empty() || flow.has_port(&self.ports))
            && (self.protocols.is_empty() || self.protocols.iter().any(|wanted| wanted == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::flow::samples::{drop_by_policy, syn};

    #[test]
    fn capture_selects_by_port_of_either_end_and_by_protocol() {
        let session = |ports: &[u16], protocols: &[&str]| {
            SubscriberSpec::from_session(&FlowsSession {
                pods: PodScope::default(),
                ports: ports.to_vec(),
                protocols: protocols.iter().map(|name| (*name).to_owned()).collect(),
                output: Vec::new(),
                flow_entries: 256,
                ring_bytes: 4096,
            })
        };
        for (ports, protocols, expected) in [
            (&[][..], &[][..], true),
            (&[80], &["TCP"], true),
            (&[443, 40000], &["TCP", "UDP"], true),
            (&[443], &[], false),
            (&[80], &["UDP"], false),
        ] {
            assert_eq!(session(ports, protocols).selects(&syn()), expected, "{ports:?} {protocols:?}");
            assert_eq!(session(ports, protocols).selects(&drop_by_policy()), expected, "{ports:?} {protocols:?}");
        }
        let mut ping = Flow { l4: L4::Icmp { v6: false, kind: 8, code: 0 }, ..drop_by_policy() };
        [&mut ping.source, &mut ping.destination].into_iter().for_each(|end| end.set_port(0));
        assert!(session(&[], &[]).selects(&ping) && !session(&[], &["TCP", "UDP"]).selects(&ping));
        assert!(session(&[], &["ICMP"]).selects(&ping) && !session(&[80], &["ICMP"]).selects(&ping));
        assert!(!session(&[], &["ICMP"]).selects(&syn()));
    }
}
