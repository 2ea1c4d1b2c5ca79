//! HTTP requests that an AppProfile decoded, as flows of the connection on which they were sent: one for the request, one for its
//! response. No program is loaded for them.

mod message;
mod trace_parent;

use std::{net::SocketAddr, sync::Arc};

use trilobite_worker_wire::RequestRow;

use self::message::Messages;
use super::FlowSink;
use crate::{
    identity::Pod,
    layers::network::{
        endpoint::Endpoint,
        enrich::{Ends, Packet},
        flow::{Event, Http, L4, L7, L7FlowType, L7Record, TrafficDirection},
    },
};

/// A request and its response, as the process at one end has them.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpExchange {
    /// First byte of the request: boot clock, nanoseconds.
    time: u64,
    latency_ns: u64,
    /// The process's own; none where it is not known.
    pod: Option<Arc<Pod>>,
    /// The process asked; else it answered.
    is_client: bool,
    /// The process's end of the connection.
    local: SocketAddr,
    remote: SocketAddr,
    /// 0 where it is not known.
    connection: u64,
    request: Http,
    response: Http,
}

/// What comes from the decoder of requests.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpMessage {
    Exchange(Box<HttpExchange>),
    /// So many exchanges came faster than flows were made of them.
    Lost(u64),
    /// So many exchanges are of connections whose addresses are not known.
    WithoutAddress(u64),
}

impl HttpMessage {
    /// Of a row of `http_events`.
    pub fn from_row(row: &RequestRow, pod: Option<Arc<Pod>>) -> Self {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let (Some(local), Some(remote)) = (row.local.map(canonical), row.remote.map(canonical)) else {
            return Self::WithoutAddress(1);
        };
        let Messages { request, response } = message::messages(row);
        Self::Exchange(Box::new(HttpExchange {
            time: row.time_ns,
            latency_ns: row.latency_ns,
            pod,
            is_client: row.client,
            local,
            remote,
            connection: row.connection,
            request,
            response,
        }))
    }
}

impl HttpExchange {
    /// Emits both flows; `booted` is the wall clock at boot, in nanoseconds.
    pub fn emit(self, sink: &mut FlowSink<'_>, booted: i128) {
        let (client, server) = if self.is_client { (self.local, self.remote) } else { (self.remote, self.local) };
        let packet = Packet {
            time: self.time,
            l4: L4::Tcp,
            source: client,
            destination: server,
            interface: 0,
            connection: self.connection,
        };
        let ends = self.name(sink.enricher.ends(&packet), sink);
        let Self { latency_ns, request, response, .. } = self;
        let request = L7 { flow_type: L7FlowType::Request, latency_ns: 0, record: L7Record::Http(request) };
        let asked = sink.enricher.event_flow(&packet, ends.clone(), Event::L7(Box::new(request)), booted);
        sink.emit_event(asked);
        let response = L7 { flow_type: L7FlowType::Response, latency_ns, record: L7Record::Http(response) };
        let time = packet.time.saturating_add(latency_ns);
        let packet = Packet { time, source: server, destination: client, ..packet };
        let answered = sink.enricher.event_flow(&packet, reversed(ends), Event::L7(Box::new(response)), booted);
        sink.emit_event(answered);
    }

    /// Both ends of the request. The process's end is its pod, also where the pod has the address of its node; so is the other
    /// end where the connection does not leave the pod.
    fn name(&self, ends: Ends, sink: &FlowSink<'_>) -> Ends {
        let own = self.pod.as_ref().map(|pod| sink.enricher.pod_endpoint(pod));
        let pod_at = |is_own: bool, address: SocketAddr, named: Arc<Endpoint>| match &own {
            Some(own) if is_own || address.ip().is_loopback() => own.clone(),
            _ => named,
        };
        let [client, server] = if self.is_client { [self.local, self.remote] } else { [self.remote, self.local] };
        Ends {
            source_endpoint: pod_at(self.is_client, client, ends.source_endpoint),
            destination_endpoint: pod_at(!self.is_client, server, ends.destination_endpoint),
            direction: if self.is_client { TrafficDirection::Egress } else { TrafficDirection::Ingress },
            is_reply: Some(false),
            is_direction_a_guess: false,
            ..ends
        }
    }
}

/// The ends of the response.
fn reversed(ends: Ends) -> Ends {
    Ends {
        source_endpoint: ends.destination_endpoint,
        destination_endpoint: ends.source_endpoint,
        source_service: ends.destination_service,
        destination_service: ends.source_service,
        is_reply: Some(true),
        ..ends
    }
}

#[cfg(test)]
mod tests;
