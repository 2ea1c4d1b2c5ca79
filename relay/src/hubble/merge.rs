//! Merges streams that end by the time of their messages. A node that takes longer than a second for its next message does not hold
//! up the others; what it sends then is late.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use trilobite_api::observer::GetFlowsResponse;

use super::call::time_of;

/// How long the others wait for a node.
const QUIET: Duration = Duration::from_secs(1);

pub(super) type Messages = BoxStream<'static, Result<GetFlowsResponse, Status>>;

/// Messages are read from the nodes as the client reads them: none is kept but the next of each.
#[derive(Default)]
pub(super) struct Merge {
    /// Nodes whose next message is not here, and since when it is waited for.
    waiting: FuturesUnordered<BoxFuture<'static, Arrived>>,
    waiting_since: BTreeMap<usize, Instant>,
    heads: BinaryHeap<Reverse<Head>>,
}

struct Arrived {
    node: usize,
    message: Option<Result<GetFlowsResponse, Status>>,
    rest: Messages,
}

struct Head {
    time: u64,
    node: usize,
    message: GetFlowsResponse,
    rest: Messages,
}

/// What comes next.
#[derive(Debug, PartialEq)]
pub(super) enum Merged {
    Message(Box<GetFlowsResponse>),
    /// The stream of a node has broken.
    Broken {
        node: usize,
        status: String,
    },
}

impl Merge {
    /// Adds the stream of a node, which is named by a number.
    pub(super) fn add(&mut self, node: usize, mut messages: Messages) {
        self.waiting_since.insert(node, Instant::now());
        self.waiting.push(Box::pin(async move { Arrived { node, message: messages.next().await, rest: messages } }));
    }

    /// None when all streams have ended. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<Merged> {
        while let Some(latest) = self.waiting_since.values().max() {
            let deadline = *latest + QUIET;
            let arrived = if self.heads.is_empty() {
                self.waiting.next().await
            } else {
                match timeout_at(deadline, self.waiting.next()).await {
                    Ok(arrived) => arrived,
                    Err(_) => break,
                }
            };
            let Some(Arrived { node, message, rest }) = arrived else { break };
            self.waiting_since.remove(&node);
            match message {
                Some(Ok(message)) => {
                    self.heads.push(Reverse(Head { time: time_of(&message), node, message, rest }));
                }
                Some(Err(status)) => return Some(Merged::Broken { node, status: status.message().to_owned() }),
                None => {}
            }
        }
        let Reverse(Head { node, message, rest, .. }) = self.heads.pop()?;
        self.add(node, rest);
        Some(Merged::Message(Box::new(message)))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.node).cmp(&(other.time, other.node))
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::{sync::mpsc, time::sleep};

    use super::*;
    use crate::resources::stream_item::timestamp;

    fn message(time: u64) -> GetFlowsResponse {
        GetFlowsResponse { time: Some(timestamp(time)), ..GetFlowsResponse::default() }
    }

    fn of_times(times: &[u64]) -> Messages {
        stream::iter(times.iter().map(|time| Ok(message(*time))).collect::<Vec<_>>()).boxed()
    }

    async fn times(merge: &mut Merge) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some(Merged::Message(message)) = merge.next().await {
            times.push(time_of(&message));
        }
        times
    }

    #[tokio::test]
    async fn streams_are_merged_by_time() {
        let mut merge = Merge::default();
        merge.add(0, of_times(&[1, 4, 7, 8]));
        merge.add(1, of_times(&[2, 3, 9]));
        merge.add(2, of_times(&[]));
        assert_eq!(times(&mut merge).await, [1, 2, 3, 4, 7, 8, 9]);
        assert_eq!(merge.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_node_delays_the_others_for_a_second_once() {
        let (sender, receiver) = mpsc::unbounded_channel();
        let slow = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
        let mut merge = Merge::default();
        merge.add(0, of_times(&(10..110).collect::<Vec<_>>()));
        merge.add(1, slow.boxed());
        let start = Instant::now();
        for time in 10..110 {
            assert_eq!(merge.next().await, Some(Merged::Message(Box::new(message(time)))));
        }
        assert_eq!(start.elapsed().as_secs(), 1);
        tokio::spawn(async move {
            sleep(Duration::from_secs(60)).await;
            sender.send(Ok(message(5))).unwrap();
        });
        assert_eq!(merge.next().await, Some(Merged::Message(Box::new(message(5)))), "late, and not lost");
        assert_eq!(merge.next().await, None);
    }

    #[tokio::test]
    async fn broken_stream_is_reported_and_the_others_go_on() {
        let mut merge = Merge::default();
        let broken = stream::iter(vec![Ok(message(3)), Err(Status::unavailable("felled"))]);
        merge.add(0, broken.boxed());
        merge.add(1, of_times(&[4]));
        assert_eq!(merge.next().await, Some(Merged::Message(Box::new(message(3)))));
        assert_eq!(merge.next().await, Some(Merged::Broken { node: 0, status: "felled".into() }));
        assert_eq!(times(&mut merge).await, [4]);
    }
}
