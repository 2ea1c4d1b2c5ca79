//! A stream of flows as they happen, of all nodes: those that come later are added, streams that break are opened again, and the
//! client reads of both. Agents are read whatever the client does, because all streams of a node share its connection.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{BoxStream, unfold},
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until},
};
use tonic::{Status, Streaming};
use trilobite_api::{
    observer::{GetFlowsRequest, GetFlowsResponse},
    relay::NodeState,
};
use trilobite_backoff::ExponentialBackoff;

use super::{
    call::{FlowCall, SharedStream, refused_by_all, time_of},
    cutoff::find_cutoff,
    flow_queue::FlowQueue,
    grant::grpc_status,
    open_nodes::open_nodes,
    past::ended,
};
use crate::{
    agents::Addresses,
    resources::{
        follow::{FIRST_RETRY, LONGEST_RETRY},
        node_failure::{Cause, NodeFailure},
        permission::Permission,
        stream_item::{nanoseconds, now_nanoseconds, timestamp},
    },
    serve::Slot,
};

/// How long after its `until` a stream waits for flows that are on their way.
const LAST_FLOWS: Duration = Duration::from_secs(2);

/// The agents of one client.
struct Follow {
    call: FlowCall,
    queue: FlowQueue,
    /// Where the streams of nodes begin that were not there at first.
    started: u64,
}

/// The stream of one client; its readers end when it is dropped.
struct FollowStream {
    follow: Arc<Follow>,
    permission: Option<Permission>,
    /// When the client wants no more.
    until: Option<Instant>,
    ended: bool,
    _readers: JoinSet<()>,
    _slot: Slot,
}

/// Opens the streams of all nodes; an error if every node refuses the request.
pub(super) async fn read_following(
    mut call: FlowCall,
    slot: Slot,
) -> Result<BoxStream<'static, Result<GetFlowsResponse, Status>>, Status> {
    let started = now_nanoseconds();
    let mut addresses = call.reader.pool.addresses();
    let first = addresses.borrow_and_update().clone();
    let nodes: Vec<String> = first.keys().cloned().collect();
    if let Some(number) = call.newest() {
        let found = find_cutoff(&call, &nodes, number).await?;
        call.request.since = Some(timestamp(found.cutoff.time));
        call.request.number = 0;
    }
    let request = call.request.clone();
    let opened = open_nodes(nodes, |node| {
        let (call, request) = (&call, request.clone());
        async move { call.open(&node, request).await }
    })
    .await;
    let failures = opened.iter().filter_map(|(_, opened)| opened.as_ref().err());
    if let Some(status) = refused_by_all(opened.len(), failures) {
        return Err(status);
    }
    let share = call.reader.budget.share(call.grant.tenant.clone());
    let queue = FlowQueue::new(share, call.rows.clone());
    let mut streams = BTreeMap::new();
    for (node, opened) in opened {
        match opened {
            Ok(stream) => {
                queue.report(&node, NodeState::NodeConnected, "");
                streams.insert(node, stream);
            }
            Err(failure) => {
                let (state, text) = call.failed_state(&failure);
                queue.report(&node, state, &text);
            }
        }
    }
    let permission =
        call.grant.recheck().map(|(recheck, cut)| Permission::new(call.reader.permission_times, None, recheck, cut));
    let until = call.request.until.as_ref().map(|until| {
        let left = Duration::from_nanos(nanoseconds(Some(until)).saturating_sub(now_nanoseconds()));
        Instant::now() + left + LAST_FLOWS
    });
    call.reader.metrics.watchers.inc();
    let follow = Arc::new(Follow { call, queue, started });
    let mut readers = JoinSet::new();
    readers.spawn(Arc::clone(&follow).read_nodes(first, addresses, streams));
    let stream = FollowStream { follow, permission, until, ended: false, _readers: readers, _slot: slot };
    Ok(unfold(stream, |mut stream| async move { Some((stream.next().await?, stream)) }).boxed())
}

impl FollowStream {
    async fn next(&mut self) -> Option<Result<GetFlowsResponse, Status>> {
        if self.ended {
            return None;
        }
        tokio::select! {
            biased;
            end = ended(self.permission.as_mut()) => {
                self.ended = true;
                Some(Err(grpc_status(&end)))
            }
            message = self.follow.queue.next() => Some(Ok(message)),
            () = sleep_until(self.until.unwrap_or_else(Instant::now)), if self.until.is_some() => {
                self.ended = true;
                None
            }
        }
    }
}

impl Drop for FollowStream {
    fn drop(&mut self) {
        self.follow.call.reader.metrics.watchers.dec();
        self.follow.queue.close();
    }
}

impl Follow {
    /// Reads the nodes that there are, now and whenever they change.
    async fn read_nodes(
        self: Arc<Self>,
        mut current: Addresses,
        mut addresses: watch::Receiver<Addresses>,
        mut streams: BTreeMap<String, SharedStream>,
    ) {
        let mut tasks = JoinSet::new();
        let mut reading: HashMap<String, AbortHandle> = HashMap::new();
        loop {
            reading.retain(|node, reader| {
                let stays = current.contains_key(node);
                if !stays {
                    reader.abort();
                    self.queue.report(node, NodeState::NodeGone, "");
                }
                stays
            });
            for node in current.keys() {
                if !reading.contains_key(node) {
                    let (follow, name, stream) = (Arc::clone(&self), node.clone(), streams.remove(node));
                    let reader = tasks.spawn(async move { follow.read_node(&name, stream).await });
                    reading.insert(node.clone(), reader);
                }
            }
            tokio::select! {
                Ok(()) = addresses.changed() => current = addresses.borrow_and_update().clone(),
                Some(ended) = tasks.join_next_with_id() => {
                    // A fault of ours must not pass for silence.
                    if let Err(error) = ended
                        && error.is_panic()
                        && let Some(node) = reading.iter().find(|(_, task)| task.id() == error.id()).map(|(node, _)| node)
                    {
                        self.queue.report(node, NodeState::NodeError, "the relay has failed to read it");
                    }
                }
                else => return std::future::pending().await,
            }
        }
    }

    /// Reads one node until the task is aborted. A stream that is opened again continues behind its last flow.
    async fn read_node(&self, node: &str, mut stream: Option<SharedStream>) {
        let mut backoff = ExponentialBackoff::between(FIRST_RETRY, LONGEST_RETRY);
        let mut after = match &stream {
            // Where the client asked for no flow of the past, the stream begins now.
            Some(_) => self.call.request.since.as_ref().map_or(self.started, |since| nanoseconds(Some(since))),
            None => self.started,
        };
        loop {
            let (connected, messages) = match stream.take() {
                Some(stream) => stream,
                None => {
                    sleep(backoff.next_delay()).await;
                    match self.call.open(node, self.request_after(after)).await {
                        Ok(stream) => {
                            self.queue.report(node, NodeState::NodeConnected, "");
                            stream
                        }
                        // It was reported when it began.
                        Err(_) => continue,
                    }
                }
            };
            backoff.reset();
            let status = self.read_messages(messages, &mut after).await;
            if self.call.request.until.as_ref().is_some_and(|until| nanoseconds(Some(until)) <= now_nanoseconds()) {
                return;
            }
            self.call.reader.pool.report_failure(node, &connected, &status).await;
            let text = format!("its stream has ended: {}", status.message());
            let (state, text) = self.call.failed_state(&NodeFailure::new(Cause::Unreachable, text));
            self.queue.report(node, state, &text);
        }
    }

    fn request_after(&self, after: u64) -> GetFlowsRequest {
        GetFlowsRequest { since: Some(timestamp(after)), number: 0, ..self.call.request.clone() }
    }

    /// Reads until the stream ends.
    async fn read_messages(&self, mut messages: Streaming<GetFlowsResponse>, after: &mut u64) -> Status {
        loop {
            match messages.next().await {
                Some(Ok(message)) => {
                    let time = time_of(&message);
                    *after = (time + 1).max(*after);
                    // The agent keeps what happened before.
                    match time < self.started {
                        true => self.queue.push_when_read(message).await,
                        false => self.queue.push(message),
                    }
                }
                Some(Err(status)) => return status,
                None => return Status::unavailable("the agent has stopped"),
            }
        }
    }
}
