//! A stream of kept flows, which ends: merged by time while the client reads, with `--last` counted over all nodes together. Each
//! agent is read on a connection of its own, so that a client that stops reading holds up no other stream and loses nothing.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, VecDeque},
};

use futures::{
    StreamExt,
    future::{pending, ready},
    stream::{BoxStream, unfold},
};
use prost_types::Timestamp;
use tokio::time::timeout;
use tonic::Status;
use trilobite_api::{
    observer::{GetFlowsRequest, GetFlowsResponse, observer_client::ObserverClient},
    relay::NodeState,
};

use super::{
    call::{FlowCall, is_flow, refused_by_all, time_of},
    cutoff::{FoundCutoff, find_cutoff},
    grant::grpc_status,
    merge::{Merge, Merged, Messages},
    newest_times::Share,
    node_status::NodeChanges,
    open_nodes::open_nodes,
};
use crate::{
    api_error::ApiError,
    metrics::RowResult,
    resources::{
        byte_budget::Reservation,
        follow::ANSWER_TIMEOUT,
        node_failure::{Cause, NodeFailure},
        permission::Permission,
        stream_item::timestamp,
    },
    serve::Slot,
};

/// Bytes that all agents of a stream may send ahead, and that one of them may.
const AHEAD: usize = 2 << 20;
const AHEAD_OF_NODE: (usize, usize) = (2 << 10, 128 << 10);
/// Flows reach an agent's buffer in another order than that of their times by less than this.
const DISORDER_NANOSECONDS: u64 = 1_000_000_000;

/// The stream of one client.
struct Past {
    call: FlowCall,
    nodes: Vec<String>,
    changes: NodeChanges,
    ready: VecDeque<GetFlowsResponse>,
    merge: Merge,
    /// Flows until the end.
    left: Option<u64>,
    permission: Option<Permission>,
    ended: bool,
    _room: Reservation,
    _slot: Slot,
}

/// Opens the streams of the nodes that have such flows.
pub(super) async fn read_past(
    call: FlowCall,
    slot: Slot,
) -> Result<BoxStream<'static, Result<GetFlowsResponse, Status>>, Status> {
    let all = call.nodes();
    let mut changes = NodeChanges::default();
    let mut failures = Vec::new();
    let mut from = 0;
    let mut shares: Option<BTreeMap<String, Share>> = None;
    if let Some(number) = call.newest() {
        let FoundCutoff { cutoff, failures: failed } = find_cutoff(&call, &all, number).await?;
        all.iter().for_each(|node| changes.record(node, NodeState::NodeConnected, ""));
        let named = (0u32..).zip(&all).filter_map(|(at, node)| Some((node.clone(), *cutoff.shares.get(&at)?)));
        shares = Some(named.collect());
        (from, failures) = (cutoff.time, failed);
    }
    let nodes: Vec<String> = match &shares {
        Some(shares) => shares.keys().cloned().collect(),
        None => all.clone(),
    };
    let (room, window) = room_ahead(&call, nodes.len()).await?;
    let request = match &shares {
        // The shares say how many: a flow that came meanwhile is not one of the newest that were counted.
        Some(_) => GetFlowsRequest { number: 0, since: since(from), ..call.request.clone() },
        None => call.request.clone(),
    };
    let opened = open_nodes(nodes, |node| open_alone(&call, node, request.clone(), window)).await;
    let mut merge = Merge::default();
    let mut names = Vec::new();
    for (node, opened) in opened {
        match opened {
            Ok(messages) => {
                changes.record(&node, NodeState::NodeConnected, "");
                let messages = match shares.as_ref().and_then(|shares| shares.get(&node)) {
                    Some(share) => trimmed(messages, from, *share),
                    None => messages,
                };
                merge.add(names.len(), messages);
                names.push(node);
            }
            Err(failure) => failures.push((node, failure)),
        }
    }
    if let Some(status) = refused_by_all(all.len(), failures.iter().map(|(_, failure)| failure)) {
        return Err(status);
    }
    for (node, failure) in &failures {
        let (state, text) = call.failed_state(failure);
        changes.record(node, state, &text);
    }
    let permission =
        call.grant.recheck().map(|(recheck, cut)| Permission::new(call.reader.permission_times, None, recheck, cut));
    let past = Past {
        left: call.limit(),
        ready: changes.drain().into(),
        nodes: names,
        changes,
        merge,
        permission,
        ended: false,
        _room: room,
        _slot: slot,
        call,
    };
    Ok(unfold(past, |mut past| async move { Some((past.next().await?, past)) }).boxed())
}

impl Past {
    /// None at the end.
    async fn next(&mut self) -> Option<Result<GetFlowsResponse, Status>> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(Ok(ready));
            }
            if self.ended || self.left == Some(0) {
                return None;
            }
            let merged = tokio::select! {
                biased;
                end = ended(self.permission.as_mut()) => {
                    self.ended = true;
                    return Some(Err(grpc_status(&end)));
                }
                merged = self.merge.next() => merged?,
            };
            match merged {
                Merged::Message(message) => {
                    if is_flow(&message) {
                        self.left = self.left.map(|left| left - 1);
                        self.call.rows.count(RowResult::Received, 1);
                        self.call.rows.count(RowResult::Delivered, 1);
                    }
                    return Some(Ok(*message));
                }
                Merged::Broken { node, status } => {
                    let node = self.nodes.get(node).cloned().unwrap_or_default();
                    let failure = NodeFailure::new(Cause::Unreachable, format!("its stream has ended: {status}"));
                    self.changes.record(&node, NodeState::NodeError, &self.call.failure_text(&failure));
                    self.ready.extend(self.changes.drain());
                }
            }
        }
    }
}

/// Why a stream may not go on. Without a permission that ends, it always may.
pub(super) async fn ended(permission: Option<&mut Permission>) -> ApiError {
    match permission {
        Some(permission) => permission
            .ended()
            .await
            .unwrap_or_else(|| ApiError::gone("a stream of flows lasts an hour at most: observe again")),
        None => pending().await,
    }
}

/// Reserves what the agents may send ahead, and gives each its part.
async fn room_ahead(call: &FlowCall, nodes: usize) -> Result<(Reservation, u32), Status> {
    let (least, most) = AHEAD_OF_NODE;
    let window = (AHEAD / nodes.max(1)).clamp(least, most);
    let share = call.reader.budget.share(call.grant.tenant.clone());
    let room = share.reserve(window * nodes).await.map_err(|error| grpc_status(&error))?;
    Ok((room, u32::try_from(window).unwrap_or(u32::MAX)))
}

async fn open_alone(
    call: &FlowCall,
    node: String,
    request: GetFlowsRequest,
    window: u32,
) -> Result<Messages, NodeFailure> {
    let opened = async {
        let channel = call.reader.pool.connect_alone(&node, window).await?;
        let request = call.scoped(request).map_err(|status| NodeFailure::from(&status))?;
        let answered = ObserverClient::new(channel).get_flows(request).await;
        let messages = answered.map_err(|status| NodeFailure::from(&status))?.into_inner();
        Ok(messages.boxed())
    };
    let late = || NodeFailure::new(Cause::Late, format!("no answer within {ANSWER_TIMEOUT:?}"));
    timeout(ANSWER_TIMEOUT, opened).await.unwrap_or_else(|_| Err(late()))
}

/// The beginning of what an agent is asked for; none for all that it has.
fn since(from: u64) -> Option<Timestamp> {
    (from > 0).then(|| timestamp(from.saturating_sub(DISORDER_NANOSECONDS)))
}

/// A node's share of the newest flows; what is no flow passes.
fn trimmed(messages: Messages, from: u64, share: Share) -> Messages {
    let wanted = messages.scan(share, move |share, message| {
        let Ok(flow) = &message else { return ready(Some(Some(message))) };
        if !is_flow(flow) {
            return ready(Some(Some(message)));
        }
        if share.at_cutoff == 0 && share.later == 0 {
            return ready(None);
        }
        let left = match time_of(flow).cmp(&from) {
            Ordering::Less => return ready(Some(None)),
            Ordering::Equal if share.skip > 0 => {
                share.skip -= 1;
                return ready(Some(None));
            }
            Ordering::Equal => &mut share.at_cutoff,
            Ordering::Greater => &mut share.later,
        };
        if *left == 0 {
            return ready(Some(None));
        }
        *left -= 1;
        ready(Some(Some(message)))
    });
    wanted.filter_map(ready).boxed()
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use trilobite_api::{
        flow::{Flow, LostEvent},
        observer::get_flows_response::ResponseTypes,
    };

    use super::*;

    fn flow(time: u64) -> Result<GetFlowsResponse, Status> {
        let response_types = Some(ResponseTypes::Flow(Flow::default()));
        Ok(GetFlowsResponse { time: Some(timestamp(time)), response_types, ..GetFlowsResponse::default() })
    }

    #[tokio::test]
    async fn share_begins_at_the_cutoff_and_ends_by_number() {
        let lost = Some(ResponseTypes::LostEvents(LostEvent::default()));
        let lost = Ok(GetFlowsResponse { response_types: lost, ..GetFlowsResponse::default() });
        let sent = vec![flow(3), flow(5), lost, flow(5), flow(4), flow(6), flow(9), flow(10)];
        let share = Share { skip: 1, at_cutoff: 1, later: 2 };
        let kept: Vec<u64> =
            trimmed(stream::iter(sent).boxed(), 5, share).map(|message| time_of(&message.unwrap())).collect().await;
        assert_eq!(kept, [0, 5, 6, 9]);
    }

    #[tokio::test]
    async fn later_flows_come_before_others_of_the_cutoffs_time() {
        let sent = vec![flow(5), flow(5), flow(5), flow(6), flow(7)];
        let share = Share { skip: 0, at_cutoff: 1, later: 2 };
        let kept: Vec<u64> =
            trimmed(stream::iter(sent).boxed(), 5, share).map(|message| time_of(&message.unwrap())).collect().await;
        assert_eq!(kept, [5, 6, 7]);
    }

    #[tokio::test]
    async fn error_of_a_node_passes() {
        let share = Share { skip: 0, at_cutoff: 1, later: 2 };
        let broken = trimmed(stream::iter(vec![Err(Status::unavailable("felled"))]).boxed(), 5, share);
        assert!(broken.collect::<Vec<_>>().await[0].is_err());
    }
}
