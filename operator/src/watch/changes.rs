//! Tells whoever listens that something changed, not what: many changes in a row become one.

use futures::Stream;
use tokio::sync::watch;

/// A bell.
#[derive(Clone, Debug)]
pub(crate) struct Changes(watch::Sender<()>);

impl Changes {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    pub(crate) fn ring(&self) {
        self.0.send_replace(());
    }

    /// An item for each time, or run of times, that the bell rang since the last item.
    pub(crate) fn stream(&self) -> impl Stream<Item = ()> + Send + 'static {
        futures::stream::unfold(self.0.subscribe(), async |mut bell| {
            bell.changed().await.ok()?;
            Some(((), bell))
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};

    use super::*;

    #[tokio::test]
    async fn a_run_of_changes_is_heard_once() {
        let changes = Changes::new();
        let mut heard = std::pin::pin!(changes.stream());
        assert_eq!(heard.next().now_or_never(), None);
        changes.ring();
        changes.ring();
        assert_eq!(heard.next().now_or_never(), Some(Some(())));
        assert_eq!(heard.next().now_or_never(), None);
    }
}
