//! Stored results: kept on disk for an hour, and up to 64 MiB together. Only their metadata is in memory.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{
    meta::{KEPT_FOR, ProfileMeta},
    progress_marker::{self, ProgressMarker},
    recover::recover_results,
    result_writer::{ResultWriter, file_name, make_folder, write_file},
};
use crate::loss::{Ledger, LossPoint};

/// Limit of all results together.
const KEPT_BYTES_MAX: u64 = 64 << 20;

/// All results of a node; a shared handle.
#[derive(Clone)]
pub struct Results(Arc<Shared>);

struct Shared {
    inner: Mutex<Inner>,
    /// Not in `inner`, so that a slow listener blocks no reader.
    listener: Mutex<Option<Listener>>,
}

struct Inner {
    folder: PathBuf,
    ledger: Ledger,
    stored: BTreeMap<String, ProfileMeta>,
    /// Number of the last writer.
    writers: u64,
    /// Nothing may be written.
    closed: bool,
}

/// Called with the metadata of each result that is stored.
type Listener = Box<dyn Fn(&ProfileMeta) + Send>;

impl Results {
    /// Opens the results that a previous agent stored. The folder is created when something is written.
    pub fn open(state_dir: &Path, ledger: Ledger) -> Self {
        let folder = state_dir.join("profiles");
        let stored = recover_results(&folder, &ledger, Timestamp::now());
        let inner = Mutex::new(Inner { folder, ledger, stored, writers: 0, closed: false });
        Self(Arc::new(Shared { inner, listener: Mutex::default() }))
    }

    /// Calls the listener for each result that is stored from now on.
    pub fn on_stored(&self, listener: impl Fn(&ProfileMeta) + Send + 'static) {
        *self.0.listener.lock() = Some(Box::new(listener));
    }

    /// Stops writing until a profile starts, and lists nothing any more, so that the caller can clear the disk.
    pub fn close(&self) {
        let mut inner = self.0.inner.lock();
        inner.closed = true;
        inner.stored.clear();
    }

    /// A profile starts. Returns the number of samples that a previous agent took for the same profile and lost when it died.
    pub fn start_profile(&self, name: &str, expires_at: Option<Timestamp>) -> u64 {
        let mut inner = self.0.inner.lock();
        inner.closed = false;
        let path = inner.marker_path(name);
        let marker = ProgressMarker::read(&path);
        // It was read, or belongs to an older profile of the same name.
        let _ = fs::remove_file(path);
        let of_this_profile = |marker: &ProgressMarker| marker.name == name && Some(marker.expires_at) == expires_at;
        marker.filter(of_this_profile).map_or(0, |marker| marker.samples)
    }

    /// Writes how far a profile is.
    pub fn write_marker(&self, name: &str, expires_at: Timestamp, samples: u64) -> io::Result<()> {
        let inner = self.0.inner.lock();
        if inner.closed {
            return Err(closed());
        }
        make_folder(&inner.folder)?;
        ProgressMarker { name: name.to_owned(), expires_at, samples }.write(&inner.marker_path(name))
    }

    /// Removes the marker: the profile has ended.
    pub fn remove_marker(&self, name: &str) {
        // There is none if the profile does not expire, or the disk is full.
        let _ = fs::remove_file(self.0.inner.lock().marker_path(name));
    }

    /// Starts to write a result.
    pub fn begin(&self, name: &str) -> io::Result<ResultWriter> {
        let mut inner = self.0.inner.lock();
        if inner.closed {
            return Err(closed());
        }
        make_folder(&inner.folder)?;
        inner.writers += 1;
        Ok(ResultWriter::new(inner.folder.join(file_name(name)), inner.writers))
    }

    /// Stores a result, which replaces an older one of the same name. Returns the metadata with the sizes of the files.
    pub fn store(&self, writer: ResultWriter, mut meta: ProfileMeta, now: Timestamp) -> io::Result<ProfileMeta> {
        let mut inner = self.0.inner.lock();
        if inner.closed {
            return Err(closed());
        }
        let path = inner.folder.join(file_name(&meta.name)).with_extension("json");
        // The old metadata must never be on disk beside the new files.
        if inner.stored.remove(&meta.name).is_some() {
            let _ = fs::remove_file(&path);
        }
        (meta.folded_bytes, meta.svg_bytes) = writer.commit()?;
        write_file(&path, &serde_json::to_vec(&meta)?)?;
        inner.stored.insert(meta.name.clone(), meta.clone());
        inner.purge(now);
        drop(inner);
        if let Some(listener) = &*self.0.listener.lock() {
            listener(&meta);
        }
        Ok(meta)
    }

    /// Removes expired results.
    pub fn purge(&self, now: Timestamp) {
        self.0.inner.lock().purge(now);
    }

    /// Metadata of all stored results.
    pub fn list(&self, now: Timestamp) -> Vec<ProfileMeta> {
        let mut inner = self.0.inner.lock();
        inner.purge(now);
        inner.stored.values().cloned().collect()
    }

    /// A result: its metadata, folded stacks and picture.
    pub fn get(&self, name: &str, now: Timestamp) -> io::Result<Option<(ProfileMeta, File, File)>> {
        let mut inner = self.0.inner.lock();
        inner.purge(now);
        let Some(meta) = inner.stored.get(name).cloned() else { return Ok(None) };
        let path = inner.folder.join(file_name(name));
        let opened = File::open(path.with_extension("folded"))
            .and_then(|folded| Ok((folded, File::open(path.with_extension("svg"))?)));
        match opened {
            Ok((folded, svg)) => Ok(Some((meta, folded, svg))),
            // The folder was cleared by hand.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                inner.remove(name);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl Inner {
    fn marker_path(&self, name: &str) -> PathBuf {
        self.folder.join(file_name(name)).with_extension(progress_marker::EXTENSION)
    }

    /// Removes expired results, and then the oldest ones above the limit, which are counted as lost.
    fn purge(&mut self, now: Timestamp) {
        let old = |meta: &ProfileMeta| now.duration_since(meta.ended) >= KEPT_FOR;
        let expired: Vec<String> =
            self.stored.values().filter(|meta| old(meta)).map(|meta| meta.name.clone()).collect();
        for name in expired {
            self.remove(&name);
        }
        while self.stored.values().map(|meta| meta.folded_bytes + meta.svg_bytes).sum::<u64>() > KEPT_BYTES_MAX {
            let oldest = self.stored.values().min_by_key(|meta| meta.ended).map(|meta| meta.name.clone());
            let Some(name) = oldest else { return };
            self.remove(&name);
            self.ledger.record_loss(LossPoint::ResultStore, &format!("AppProfile/{name}"), 1);
        }
    }

    fn remove(&mut self, name: &str) {
        self.stored.remove(name);
        let path = self.folder.join(file_name(name));
        for extension in ["folded", "svg", "json"] {
            // Fails if the file is gone already.
            let _ = fs::remove_file(path.with_extension(extension));
        }
    }
}

fn closed() -> io::Error {
    io::Error::other("results are not stored any more")
}
