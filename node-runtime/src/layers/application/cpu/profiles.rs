//! Every profile that this node knows, for the services that read them: running ones and stored results.

use std::{collections::BTreeMap, fs::File, io, sync::Arc};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{
    deliver::{KEPT_FOR, ProfileMeta, Results},
    spec::SessionStatus,
};

/// A shared handle.
#[derive(Clone)]
pub struct Profiles {
    results: Results,
    running: Arc<Mutex<BTreeMap<String, Arc<Mutex<SessionStatus>>>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileProgress {
    /// Samples are taken, or the result is being made.
    Running(ProfileMeta),
    /// The result is stored, or could not be; it may hold nothing but a problem.
    Finished(ProfileMeta),
}

impl Profiles {
    pub fn new(results: Results) -> Self {
        Self { results, running: Arc::default() }
    }

    /// Adds a profile that was started. An older one of the same name is no longer listed.
    pub fn add(&self, status: Arc<Mutex<SessionStatus>>) {
        let name = status.lock().meta.name.clone();
        self.running.lock().insert(name, status);
    }

    /// All profiles by name.
    pub fn all(&self, now: Timestamp) -> BTreeMap<String, ProfileProgress> {
        let stored = self.results.list(now).into_iter();
        let mut all: BTreeMap<String, ProfileProgress> =
            stored.map(|meta| (meta.name.clone(), ProfileProgress::Finished(meta))).collect();
        let mut running = self.running.lock();
        running.retain(|_, status| is_listed(&status.lock(), now));
        for (name, status) in running.iter() {
            let SessionStatus { meta, finished, .. } = status.lock().clone();
            if finished {
                all.entry(name.clone()).or_insert(ProfileProgress::Finished(meta));
            } else {
                all.insert(name.clone(), ProfileProgress::Running(meta));
            }
        }
        all
    }

    /// One profile by name.
    pub fn one(&self, name: &str, now: Timestamp) -> Option<ProfileProgress> {
        self.all(now).remove(name)
    }

    /// Metadata and the two files of a result.
    pub fn files(&self, name: &str, now: Timestamp) -> io::Result<Option<(ProfileMeta, File, File)>> {
        self.results.get(name, now)
    }

    pub fn results(&self) -> &Results {
        &self.results
    }
}

/// A profile that could not be stored is listed with its problem for as long as a stored one would be.
fn is_listed(status: &SessionStatus, now: Timestamp) -> bool {
    !status.finished || (!status.stored && now.duration_since(status.meta.ended) < KEPT_FOR)
}
