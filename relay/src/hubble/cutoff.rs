//! Where the newest flows of all nodes together begin: the agents are asked for the times of their newest flows, so that afterwards
//! no flow is sent in vain or kept in memory.

use futures::{StreamExt, stream};
use parking_lot::Mutex;
use prost_types::FieldMask;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use trilobite_api::observer::GetFlowsRequest;

use super::{
    call::{FlowCall, is_flow, time_of},
    grant::grpc_status,
    newest_times::{BYTES_OF_TIME, Cutoff, NewestTimes},
};
use crate::{
    api_error::ApiError,
    resources::{
        byte_budget::Reservation,
        node_failure::{Cause, NodeFailure},
    },
};

/// Limit for the times of all nodes.
const TIMES_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);
/// Nodes that are asked at the same time.
const CONCURRENCY: usize = 64;
/// Memory of times is reserved in such steps.
const STEP: usize = 64 << 10;

/// The cutoff, and the nodes that could not be asked.
pub(super) struct FoundCutoff {
    pub(super) cutoff: Cutoff,
    pub(super) failures: Vec<(String, NodeFailure)>,
}

struct Times {
    newest: NewestTimes,
    room: Reservation,
    failures: Vec<(String, NodeFailure)>,
}

/// Asks `nodes`, whose place in the list is their number in the cutoff.
pub(super) async fn find_cutoff(call: &FlowCall, nodes: &[String], number: usize) -> Result<FoundCutoff, Status> {
    let room = call.reader.budget.share(call.grant.tenant.clone()).empty_reservation();
    let times = Mutex::new(Times { newest: NewestTimes::new(number), room, failures: Vec::new() });
    let deadline = Instant::now() + TIMES_LIMIT;
    let asked = stream::iter((0u32..).zip(nodes.to_vec())).map(|(at, node)| {
        let times = &times;
        async move {
            match timeout_at(deadline, read_times(call, &node, at, times)).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(Stopped::NoRoom(error))) => Err(grpc_status(&error)),
                Ok(Err(Stopped::Failed(failure))) => {
                    times.lock().fail(at, &node, failure);
                    Ok(())
                }
                Err(_) => {
                    let detail = format!("it did not end its answer within {TIMES_LIMIT:?}");
                    times.lock().fail(at, &node, NodeFailure::new(Cause::Late, detail));
                    Ok(())
                }
            }
        }
    });
    let answers: Vec<Result<(), Status>> = asked.buffer_unordered(CONCURRENCY).collect().await;
    answers.into_iter().collect::<Result<(), Status>>()?;
    let Times { newest, failures, .. } = times.into_inner();
    Ok(FoundCutoff { cutoff: newest.into_cutoff(), failures })
}

enum Stopped {
    NoRoom(ApiError),
    Failed(NodeFailure),
}

async fn read_times(call: &FlowCall, node: &str, at: u32, times: &Mutex<Times>) -> Result<(), Stopped> {
    let mask = FieldMask { paths: vec!["time".into()] };
    let request = GetFlowsRequest { follow: false, field_mask: Some(mask), ..call.request.clone() };
    let (connected, mut messages) = call.open(node, request).await.map_err(Stopped::Failed)?;
    while let Some(message) = messages.next().await {
        match message {
            Ok(message) if is_flow(&message) => times.lock().push(time_of(&message), at).map_err(Stopped::NoRoom)?,
            Ok(_) => {}
            Err(status) => {
                call.reader.pool.report_failure(node, &connected, &status).await;
                return Err(Stopped::Failed(NodeFailure::from(&status)));
            }
        }
    }
    Ok(())
}

impl Times {
    fn push(&mut self, time: u64, node: u32) -> Result<(), ApiError> {
        if self.newest.len() * BYTES_OF_TIME >= self.room.bytes() && !self.room.resize(self.room.bytes() + STEP) {
            return Err(ApiError::too_many_requests("so many flows are not merged at once: ask for fewer by --last"));
        }
        self.newest.push(time, node);
        Ok(())
    }

    fn fail(&mut self, at: u32, node: &str, failure: NodeFailure) {
        self.newest.remove(at);
        self.failures.push((node.to_owned(), failure));
    }
}
