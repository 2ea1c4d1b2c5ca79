//! One file on the node's disk that follows something in memory: written when its content is another one, away from the
//! agent's one thread, since a disk may take its time.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use tokio::task::spawn_blocking;

use crate::{
    desired::last_good::{Kept, LastGoodError},
    report::Problem,
};

/// The file, and what it holds as far as this agent has written it.
pub(super) struct Upkeep<K, T> {
    /// The file.
    pub(super) file: Kept<T>,
    what: &'static str,
    written: Option<Arc<K>>,
}

impl<K, T> Upkeep<K, T>
where
    K: PartialEq + Send + Sync + 'static,
    T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// Nothing was written yet; `what` it holds, as `the pods of this node`.
    pub(super) fn new(file: Kept<T>, what: &'static str) -> Self {
        Self { file, what, written: None }
    }

    /// The file holds `now`, as `kept` makes it, or there is a problem and it is to be tried again.
    pub(super) async fn keep(&mut self, now: K, kept: fn(&K) -> T) -> Result<(), Problem> {
        if self.written.as_deref() == Some(&now) {
            return Ok(());
        }
        let now = Arc::new(now);
        self.write(now.clone(), kept).await?;
        self.written = Some(now);
        Ok(())
    }

    /// As `keep`, whatever was written before; then nothing of it stays in memory.
    pub(super) async fn write(&mut self, now: Arc<K>, kept: fn(&K) -> T) -> Result<(), Problem> {
        self.written = None;
        let file = self.file.clone();
        let wrote = spawn_blocking(move || file.write(&kept(&now)).map_err(|error: LastGoodError| error.to_string()));
        wrote.await.map_err(|error| error.to_string()).flatten().map_err(|detail| {
            tracing::warn!(error = %detail, "{} could not be kept on disk; trying again", self.what);
            Problem::StateNotKept { what: self.what.into(), detail }
        })
    }

    /// The disk was cleared.
    pub(super) fn forget(&mut self) {
        self.written = None;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{desired::last_good::KnownNamespaces, identity::slots::Namespaces};

    fn namespaces(name: &str) -> Namespaces {
        [(name.to_owned(), Default::default())].into()
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_told_and_written_when_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut kept = Upkeep::new(KnownNamespaces::new(&state), "labels");
        let refused = kept.keep(namespaces("shop"), Clone::clone).await.unwrap_err();
        assert!(matches!(refused, Problem::StateNotKept { .. }), "{refused:?}");
        fs::create_dir(&state).unwrap();
        kept.keep(namespaces("shop"), Clone::clone).await.unwrap();
        assert_eq!(kept.file.read().unwrap(), Some(namespaces("shop")));
    }

    #[tokio::test]
    async fn what_has_not_changed_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Upkeep::new(KnownNamespaces::new(folder.path()), "labels");
        kept.keep(namespaces("shop"), Clone::clone).await.unwrap();
        fs::remove_file(folder.path().join("known-namespaces")).unwrap();
        kept.keep(namespaces("shop"), Clone::clone).await.unwrap();
        assert_eq!(kept.file.read().unwrap(), None);
        kept.keep(namespaces("till"), Clone::clone).await.unwrap();
        assert_eq!(kept.file.read().unwrap(), Some(namespaces("till")));
    }
}
