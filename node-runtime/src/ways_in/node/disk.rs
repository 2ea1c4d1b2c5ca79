//! What a node has on its disk: for an agent that starts while the API server is away, and only while something is wanted.

use std::sync::Arc;

use jiff::Timestamp;

use super::{LAST_RESULTS, Node};
use crate::{identity::Pod, runtime::Matter};

/// What is still to be kept on disk.
#[derive(Default)]
pub(super) struct Due {
    state: bool,
    pods: bool,
}

impl Node {
    /// Keeps what is in force; where that cannot be, `keep` tries again.
    pub(super) async fn keep_state(&mut self) {
        let kept = self.last_good.write(Arc::new(self.runtime.to_keep()), Clone::clone).await;
        self.due.state = kept.is_err();
        self.runtime.trouble(Matter::LastGood, kept.err());
    }

    async fn keep_pods(&mut self) {
        // While no selection asks for labels none are known, and what is on disk may be asked for again.
        let labels = if self.identity.need_namespaces() {
            self.known_namespaces.keep(self.identity.namespaces(), Clone::clone).await
        } else {
            Ok(())
        };
        let clones = |pods: &Vec<Arc<Pod>>| pods.iter().map(|pod| Pod::clone(pod)).collect();
        let pods = self.known_pods.keep(self.identity.pods(), clones).await;
        self.due.pods = labels.is_err() || pods.is_err();
        self.runtime.trouble(Matter::KnownNamespaces, labels.err());
        self.runtime.trouble(Matter::KnownPods, pods.err());
    }

    /// Gives the sign of life, takes old results off the disk, and keeps there what has changed, or could not be kept before.
    pub(super) async fn keep(&mut self) {
        self.profiles.results().purge(Timestamp::now());
        // An agent that has nothing in force yet watches no more than none does.
        if self.unwatched_since.is_none() {
            self.last_good.file.touch();
        }
        if !self.keeping {
            return;
        }
        if self.due.state {
            self.keep_state().await;
        }
        if self.pods_changed.has_changed().unwrap_or_default() {
            // Before they are read: what changes meanwhile is seen the next time.
            self.pods_changed.mark_unchanged();
            self.due.pods = true;
        }
        if self.due.pods {
            self.keep_pods().await;
        }
    }

    /// Unloads everything and leaves nothing on this node's disk: first whoever writes there ends, then it is cleared.
    pub(super) async fn forget(&mut self) {
        self.keeping = false;
        self.unwatched_since = None;
        self.export.finish().await;
        self.runtime.end(LAST_RESULTS).await;
        self.runtime.trouble(Matter::LastGood, None);
        self.runtime.trouble(Matter::KnownPods, None);
        self.runtime.trouble(Matter::KnownNamespaces, None);
        self.runtime.trouble(Matter::Profile, None);
        self.known_pods.forget();
        self.known_namespaces.forget();
        // What is wanted next begins with a clear disk.
        self.due = Due { state: false, pods: true };
        for entry in std::fs::read_dir(&self.context.state_dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            if let Err(error) = removed {
                tracing::warn!(%error, path = %path.display(), "could not be removed from this node's disk");
            }
        }
    }
}
