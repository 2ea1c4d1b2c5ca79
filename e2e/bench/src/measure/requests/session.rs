//! The session of an AppProfile on the bench's node: its worker, and what the agent's status says of its requests.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use trilobite_crds::node::RequestsState;

use crate::{agent::Agent, bench::Bench, node::Node, waiting::poll};

/// Longer than the agent waits before it writes new counts into its status.
const STATUS: Duration = Duration::from_secs(6);
/// Workers that read the symbols of TLS libraries have ended after this time.
const INSPECTION: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(20);

/// Gives the node another stack, and waits until the agent reports it as active.
pub(super) fn apply(node: &Node, agent: &Agent, stack: &str) -> Result<()> {
    node.wait_until_active(node.apply(&Bench::stack(stack))?, agent)
}

/// The worker of the only session.
pub(super) fn worker(agent: &Agent) -> Result<u32> {
    thread::sleep(INSPECTION);
    let mut workers = Vec::new();
    let is_one = poll(TIMEOUT, Duration::from_millis(50), || {
        workers = agent.cgroup().processes();
        workers.retain(|pid| *pid != agent.pid());
        workers.len() == 1
    });
    ensure!(is_one, "one session has {} workers: {}", workers.len(), agent.log());
    Ok(workers[0])
}

/// What the status says of the first session, once its counts are those of now.
pub(super) fn requests_state(node: &Node) -> Result<RequestsState> {
    thread::sleep(STATUS);
    let status = node.status()?;
    let state = status["sessions"][0]["requests"].clone();
    serde_json::from_value(state).with_context(|| format!("the session has no state of requests: {status}"))
}

/// Rows of every protocol.
pub(super) fn row_count(state: &RequestsState) -> f64 {
    state.rows.iter().map(|rows| rows.rows as f64).sum()
}
