//! A file that follows a value in memory: written when the value changed, on a blocking thread, since the agent's runtime has
//! a single thread.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use tokio::task::spawn_blocking;

use crate::{
    desired::last_known_good::{StateFile, StateFileError},
    problem::Problem,
};

/// The file, and the value that this agent wrote last.
pub(crate) struct Checkpoint<K, T> {
    pub(crate) file: StateFile<T>,
    what: &'static str,
    written: Option<Arc<K>>,
}

impl<K, T> Checkpoint<K, T>
where
    K: PartialEq + Send + Sync + 'static,
    T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// `what` names the content in messages, e.g. `the pods of this node`.
    pub(crate) fn new(file: StateFile<T>, what: &'static str) -> Self {
        Self { file, what, written: None }
    }

    /// Writes `value` unless the file holds it already; `to_stored` makes the stored form. After an error the caller tries again.
    pub(crate) async fn write_if_changed(&mut self, value: K, to_stored: fn(&K) -> T) -> Result<(), Problem> {
        if self.written.as_deref() == Some(&value) {
            return Ok(());
        }
        let value = Arc::new(value);
        self.write(value.clone(), to_stored).await?;
        self.written = Some(value);
        Ok(())
    }

    /// Writes `value` unconditionally and keeps no copy of it in memory.
    pub(crate) async fn write(&mut self, value: Arc<K>, to_stored: fn(&K) -> T) -> Result<(), Problem> {
        self.written = None;
        let file = self.file.clone();
        let written =
            spawn_blocking(move || file.write(&to_stored(&value)).map_err(|error: StateFileError| error.to_string()));
        written.await.map_err(|error| error.to_string()).flatten().map_err(|detail| {
            tracing::warn!(error = %detail, "{} could not be written to disk; trying again", self.what);
            Problem::StateNotKept { what: self.what.into(), detail }
        })
    }

    /// To be called when the disk was cleared.
    pub(crate) fn mark_unwritten(&mut self) {
        self.written = None;
    }
}

/// Files that have to be written at the next tick.
#[derive(Default)]
pub(crate) struct PendingWrites {
    pub(crate) state: bool,
    pub(crate) pods: bool,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{desired::last_known_good::KnownNamespaces, identity::selection::Namespaces};

    fn namespaces(name: &str) -> Namespaces {
        [(name.to_owned(), Default::default())].into()
    }

    #[tokio::test]
    async fn failed_write_is_reported_and_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut checkpoint = Checkpoint::new(KnownNamespaces::new(&state), "labels");
        let refused = checkpoint.write_if_changed(namespaces("shop"), Clone::clone).await.unwrap_err();
        assert!(matches!(refused, Problem::StateNotKept { .. }), "{refused:?}");
        fs::create_dir(&state).unwrap();
        checkpoint.write_if_changed(namespaces("shop"), Clone::clone).await.unwrap();
        assert_eq!(checkpoint.file.read().unwrap(), Some(namespaces("shop")));
    }

    #[tokio::test]
    async fn unchanged_value_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut checkpoint = Checkpoint::new(KnownNamespaces::new(folder.path()), "labels");
        checkpoint.write_if_changed(namespaces("shop"), Clone::clone).await.unwrap();
        fs::remove_file(folder.path().join("known-namespaces")).unwrap();
        checkpoint.write_if_changed(namespaces("shop"), Clone::clone).await.unwrap();
        assert_eq!(checkpoint.file.read().unwrap(), None);
        checkpoint.write_if_changed(namespaces("till"), Clone::clone).await.unwrap();
        assert_eq!(checkpoint.file.read().unwrap(), Some(namespaces("till")));
    }
}
