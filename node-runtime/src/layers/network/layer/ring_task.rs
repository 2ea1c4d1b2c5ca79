//! A task for a ring: it ends with the ring.

use std::sync::Arc;

use tokio::task::JoinHandle;

/// `R` is the ring.
pub(super) struct RingTask<R>(Option<(Arc<R>, JoinHandle<()>)>);

impl<R> Default for RingTask<R> {
    fn default() -> Self {
        Self(None)
    }
}

impl<R> RingTask<R> {
    /// Runs the task that `start` makes for this ring, and that of no other ring.
    pub(super) async fn read<F>(&mut self, ring: Option<Arc<R>>, start: impl FnOnce(Arc<R>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let same = match (&self.0, &ring) {
            (Some((old, _)), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        if let Some((old, task)) = self.0.take() {
            task.abort();
            // The task holds the old ring until it has ended. Its error is the abort.
            let _ = task.await;
            drop(old);
        }
        self.0 = ring.map(|ring| (ring.clone(), tokio::spawn(start(ring))));
    }
}

impl<R> Drop for RingTask<R> {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.0 {
            task.abort();
        }
    }
}
