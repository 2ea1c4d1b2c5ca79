//! Opens the streams of many nodes at the same time.

use futures::{StreamExt, stream};

use crate::resources::node_failure::NodeFailure;

/// Nodes that are asked at the same time.
const CONCURRENCY: usize = 64;

/// What `open` gives for each node, in the order of the nodes.
pub(super) async fn open_nodes<T, F>(
    nodes: Vec<String>,
    open: impl Fn(String) -> F,
) -> Vec<(String, Result<T, NodeFailure>)>
where
    F: Future<Output = Result<T, NodeFailure>>,
{
    let asked = nodes.into_iter().map(|node| {
        let opened = open(node.clone());
        async move { (node, opened.await) }
    });
    stream::iter(asked).buffered(CONCURRENCY).collect().await
}
