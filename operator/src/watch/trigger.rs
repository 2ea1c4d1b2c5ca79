//! `Trigger`: signals that something changed, without saying what. Several changes in a row become one item.

use futures::Stream;
use tokio::sync::watch;

#[derive(Clone, Debug)]
pub(crate) struct Trigger(watch::Sender<()>);

impl Trigger {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    pub(crate) fn fire(&self) {
        self.0.send_replace(());
    }

    /// One item for all calls of `fire` since the last item.
    pub(crate) fn stream(&self) -> impl Stream<Item = ()> + Send + 'static {
        futures::stream::unfold(self.0.subscribe(), async |mut fired| {
            fired.changed().await.ok()?;
            Some(((), fired))
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};

    use super::*;

    #[tokio::test]
    async fn several_changes_become_one_item() {
        let trigger = Trigger::new();
        let mut items = std::pin::pin!(trigger.stream());
        assert_eq!(items.next().now_or_never(), None);
        trigger.fire();
        trigger.fire();
        assert_eq!(items.next().now_or_never(), Some(Some(())));
        assert_eq!(items.next().now_or_never(), None);
    }
}
