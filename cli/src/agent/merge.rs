//! Merges the streams of several agents in the order of arrival. The end of a stream is an item too: a node that left
//! differs from a node where nothing happens.

use std::pin::Pin;

use futures::{
    Stream, StreamExt,
    stream::{SelectAll, unfold},
};
use tonic::Status;

/// An item of the merged stream.
pub(crate) enum Arrival<T> {
    Message(T),
    /// The node's stream has ended, with an error or without; it may be reopened.
    End {
        node: String,
        error: Option<Status>,
    },
}

type Merged<T> = SelectAll<Pin<Box<dyn Stream<Item = Arrival<T>> + Send>>>;

/// Ends after the last stream's end. `reconnect` gives another stream of a node whose stream has ended, or none.
pub(crate) fn merge<T, S, F, R>(streams: Vec<(String, S)>, reconnect: F) -> Merged<T>
where
    T: Send + 'static,
    S: Stream<Item = Result<T, Status>> + Send + 'static,
    F: Fn(String) -> R + Clone + Send + 'static,
    R: Future<Output = Option<S>> + Send,
{
    streams.into_iter().map(|(node, stream)| follow_node(node, stream, reconnect.clone())).collect()
}

fn follow_node<T, S, F, R>(node: String, stream: S, reconnect: F) -> Pin<Box<dyn Stream<Item = Arrival<T>> + Send>>
where
    T: Send + 'static,
    S: Stream<Item = Result<T, Status>> + Send + 'static,
    F: Fn(String) -> R + Send + 'static,
    R: Future<Output = Option<S>> + Send,
{
    Box::pin(unfold((node, Some(Box::pin(stream)), reconnect), |(node, stream, reconnect)| async move {
        let mut stream = match stream {
            Some(stream) => stream,
            None => {
                let reopened = reconnect(node.clone());
                Box::pin(reopened.await?)
            }
        };
        Some(match stream.next().await {
            Some(Ok(message)) => (Arrival::Message(message), (node, Some(stream), reconnect)),
            ended => (Arrival::End { node: node.clone(), error: ended.and_then(Result::err) }, (node, None, reconnect)),
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
    async fn every_stream_ends_once_with_or_without_an_error() {
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
    async fn reopened_stream_is_read_on_after_its_end_was_reported() {
        let left = Arc::new(AtomicU32::new(2));
        let reconnect = move |node: String| {
            assert_eq!(node, "alder");
            let more = left.fetch_sub(1, Ordering::Relaxed);
            ready((more > 0).then(|| iter(vec![Ok(more)])))
        };
        let streams = vec![("alder".to_owned(), iter(vec![Ok(7)]))];
        let arrivals = merge(streams, reconnect).map(|arrival| match arrival {
            Arrival::Message(message) => message.to_string(),
            Arrival::End { node, .. } => format!("{node} ended"),
        });
        let read: Vec<String> = arrivals.collect().await;
        assert_eq!(read, ["7", "alder ended", "2", "alder ended", "1", "alder ended"]);
    }
}
