//! A task for a ring: it ends with the ring.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::kernel::Ring;

#[derive(Default)]
pub(super) struct RingTask(Option<(Arc<Ring>, JoinHandle<()>)>);

impl RingTask {
    /// Runs the task that `start` makes for this ring, and that of no other ring.
    pub(super) async fn read<F>(&mut self, ring: Option<Arc<Ring>>, start: impl FnOnce(Arc<Ring>) -> F)
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

impl Drop for RingTask {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.0 {
            task.abort();
        }
    }
}
