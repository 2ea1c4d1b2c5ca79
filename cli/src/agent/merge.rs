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
    /// Nothing more will come, and why if it was an error.
    End {
        /// Which.
        node: String,
        /// The error, if it was one.
        error: Option<Status>,
    },
}

type Merged<T> = SelectAll<Pin<Box<dyn Stream<Item = Arrival<T>> + Send>>>;

/// All of them; ends after the last one's end.
pub(crate) fn merge<T, S>(streams: Vec<(String, S)>) -> Merged<T>
where
    T: Send + 'static,
    S: Stream<Item = Result<T, Status>> + Send + 'static,
{
    streams.into_iter().map(|(node, stream)| told(node, Box::pin(stream))).collect()
}

fn told<T, S>(node: String, stream: Pin<Box<S>>) -> Pin<Box<dyn Stream<Item = Arrival<T>> + Send>>
where
    T: Send + 'static,
    S: Stream<Item = Result<T, Status>> + Send + 'static,
{
    Box::pin(unfold(Some((node, stream)), |state| async {
        let (node, mut stream) = state?;
        Some(match stream.next().await {
            Some(Ok(message)) => (Arrival::Message(message), Some((node, stream))),
            Some(Err(error)) => (Arrival::End { node, error: Some(error) }, None),
            None => (Arrival::End { node, error: None }, None),
        })
    }))
}

#[cfg(test)]
mod tests {
    use futures::stream::iter;

    use super::*;

    #[tokio::test]
    async fn every_stream_ends_once_whether_by_an_error_or_not() {
        let streams = vec![
            ("alder".to_owned(), iter(vec![Ok(1), Ok(2)])),
            ("birch".to_owned(), iter(vec![Ok(3), Err(Status::aborted("felled"))])),
        ];
        let mut messages = Vec::new();
        let mut ends = Vec::new();
        for arrival in merge(streams).collect::<Vec<_>>().await {
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
}
