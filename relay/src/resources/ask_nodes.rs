//! Asks the agents of many nodes for answers that end.

use futures::{StreamExt, stream};

use super::coverage::CoverageTracker;
use crate::agents::AgentPool;

/// Nodes that are asked at the same time.
const CONCURRENCY: usize = 64;

/// Calls `ask` with each node that is wanted; it records in the coverage how the node answers.
pub(super) async fn ask_nodes<F: Future<Output = ()>>(
    pool: &AgentPool,
    coverage: &CoverageTracker,
    is_wanted: impl Fn(&str) -> bool,
    ask: impl Fn(String) -> F,
) {
    let addresses = pool.addresses().borrow().clone();
    let nodes: Vec<String> = addresses.keys().filter(|node| is_wanted(node)).cloned().collect();
    nodes.iter().for_each(|node| coverage.set_asked(node));
    stream::iter(nodes).for_each_concurrent(CONCURRENCY, ask).await;
}
