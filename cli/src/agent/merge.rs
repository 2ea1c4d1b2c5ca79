//! Streams of several agents as one, in the order of arrival. An end is an item too, so that nobody mistakes a node that
//! left for a node where nothing happens.

use std::pin::Pin;

use futures::{
    Stream, StreamExt,
    stream::{SelectAll, unfold},
};
use tonic::Status;

/// What came from a node.
pub(crate) enum Arrival<T> {
    /// A message.
    Message(T),
    /// Nothing more will come, unless the node is asked again; and why if it was an error.
    End {
        /// Which.
        node: String,
        /// The error, if it was one.
        error: Option<Status>,
    },
}

type Merged<T> = SelectAll<Pin<Box<dyn Stream<Item = Arrival<T>> + Send>>>;

/// All of them; ends after the last one's end. A node whose stream has ended is asked for another by `again`, which gives none
/// when there will be none.
pub(crate) fn merge<T, S, F, R>(streams: Vec<(String, S)>, again: F) -> Merged<T>
where
    T: Send + 'static,
    S: Stream<Item = Result<T, Status>> + Send + 'static,
    F: Fn(String) -> R + Clone + Send + 'static,
    R: Future<Output = Option<S>> + Send,
{
    streams.into_iter().map(|(node, stream)| told(node, stream, again.clone())).collect()
}

fn told<T, S, F, R>(node: String, stream: S, again: F) -> Pin<Box<dyn Stream<Item = Arrival<T>> + Send>>
where
    T: Send + 'static,
    S: Stream<Item = Result<T, Status>> + Send + 'static,
    F: Fn(String) -> R + Send + 'static,
    R: Future<Output = Option<S>> + Send,
{
    Box::pin(unfold((node, Some(Box::pin(stream)), again), |(node, stream, again)| async move {
        let mut stream = match stream {
            Some(stream) => stream,
            None => {
                let found = again(node.clone());
                Box::pin(found.await?)
            }
        };
        Some(match stream.next().await {
            Some(Ok(message)) => (Arrival::Message(message), (node, Some(stream), again)),
            ended => (Arrival::End { node: node.clone(), error: ended.and_then(Result::err) }, (node, None, again)),
        })
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use futures::{future::ready, stream::iter};

    use super::*;

    #[tokio::test]
    async fn every_stream_ends_once_whether_by_an_error_or_not() {
        let streams = vec![
            ("alder".to_owned(), iter(vec![Ok(1), Ok(2)])),
            ("birch".to_owned(), iter(vec![Ok(3), Err(Status::aborted("felled"))])),
        ];
        let mut messages = Vec::new();
        let mut ends = Vec::new();
        for arrival in merge(streams, |_| ready(None)).collect::<Vec<_>>().await {
            match arrival {
                Arrival::Message(message) => messages.push(message),
                Arrival::End { node, error } => ends.push((node, error.map(|error| error.message().to_owned()))),
            }
        }
        messages.sort_unstable();
        ends.sort();
        assert_eq!(messages, [1, 2, 3]);
        assert_eq!(ends, [("alder".into(), None), ("birch".into(), Some("felled".into()))]);
    }

    #[tokio::test]
    async fn a_node_that_is_there_again_is_read_on_and_the_gap_is_told() {
        let left = Arc::new(AtomicU32::new(2));
        let again = move |node: String| {
            assert_eq!(node, "alder");
            let more = left.fetch_sub(1, Ordering::Relaxed);
            ready((more > 0).then(|| iter(vec![Ok(more)])))
        };
        let streams = vec![("alder".to_owned(), iter(vec![Ok(7)]))];
        let arrivals = merge(streams, again).map(|arrival| match arrival {
            Arrival::Message(message) => message.to_string(),
            Arrival::End { node, .. } => format!("{node} ended"),
        });
        let read: Vec<String> = arrivals.collect().await;
        assert_eq!(read, ["7", "alder ended", "2", "alder ended", "1", "alder ended"]);
    }
}
