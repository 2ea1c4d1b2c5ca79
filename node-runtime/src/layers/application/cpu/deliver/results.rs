//! Stored results: kept on disk for an hour, and up to 64 MiB together. Only their metadata is in memory, and what the disk
//! refuses.

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
    result_writer::{Committed, ResultInMemory, ResultWriter, file_name, make_folder, write_file},
    unwritten::UnwrittenResults,
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
    /// Those of `stored` that could not be written so far.
    unwritten: UnwrittenResults,
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
        let unwritten = UnwrittenResults::default();
        let inner = Mutex::new(Inner { folder, ledger, stored, unwritten, writers: 0, closed: false });
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
        for name in inner.unwritten.clear() {
            inner.count_lost_result(&name);
        }
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
        // If this fails, the result is kept in memory.
        let _ = make_folder(&inner.folder);
        inner.writers += 1;
        Ok(ResultWriter::new(inner.folder.join(file_name(name)), inner.writers))
    }

    /// Stores a result, which replaces an older one of the same name. What the disk refuses is kept in memory until it can be
    /// written. Returns the metadata with the sizes of the files, and why it could not be written.
    pub fn store(
        &self,
        writer: ResultWriter,
        mut meta: ProfileMeta,
        now: Timestamp,
    ) -> io::Result<(ProfileMeta, Option<io::Error>)> {
        let mut inner = self.0.inner.lock();
        if inner.closed {
            return Err(closed());
        }
        let path = inner.folder.join(file_name(&meta.name)).with_extension("json");
        // The old metadata must never be on disk beside the new files.
        if inner.stored.remove(&meta.name).is_some() {
            let _ = fs::remove_file(&path);
        }
        inner.unwritten.remove(&meta.name);
        let committed = writer.commit()?;
        (meta.folded_bytes, meta.svg_bytes) = (committed.folded_bytes, committed.svg_bytes);
        let error = inner.write_meta(&path, &meta, committed, now)?;
        inner.stored.insert(meta.name.clone(), meta.clone());
        inner.purge(now);
        drop(inner);
        if let Some(listener) = &*self.0.listener.lock() {
            listener(&meta);
        }
        Ok((meta, error))
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

    /// The disk has refused the result so far.
    pub fn is_in_memory(&self, name: &str) -> bool {
        self.0.inner.lock().unwritten.has(name)
    }

    /// A result: its metadata, folded stacks and picture.
    pub fn get(&self, name: &str, now: Timestamp) -> io::Result<Option<(ProfileMeta, File, File)>> {
        let mut inner = self.0.inner.lock();
        inner.purge(now);
        let Some(meta) = inner.stored.get(name).cloned() else { return Ok(None) };
        if let Some((folded, svg)) = inner.unwritten.open(name)? {
            return Ok(Some((meta, folded, svg)));
        }
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

    /// Writes the metadata of a result whose files are written, or keeps the result in memory; returns why.
    fn write_meta(
        &mut self,
        path: &Path,
        meta: &ProfileMeta,
        committed: Committed,
        now: Timestamp,
    ) -> io::Result<Option<io::Error>> {
        let result = match committed.in_memory {
            Some(result) => result,
            None => match write_file(path, &serde_json::to_vec(meta)?) {
                Ok(()) => return Ok(None),
                // The files stay open, and their room on the disk stays theirs.
                Err(error) => ResultInMemory {
                    folded: File::open(path.with_extension("folded"))?,
                    svg: File::open(path.with_extension("svg"))?,
                    error,
                },
            },
        };
        let ResultInMemory { folded, svg, error } = result;
        for name in self.unwritten.insert(meta.clone(), folded, svg, now) {
            self.stored.remove(&name);
            self.count_lost_result(&name);
        }
        Ok(Some(error))
    }

    fn count_lost_result(&self, name: &str) {
        self.ledger.record_loss(LossPoint::ResultStore, &format!("AppProfile/{name}"), 1);
    }

    /// Writes what could not be written before, and removes expired results, and then the oldest ones above the limit, which are
    /// counted as lost.
    fn purge(&mut self, now: Timestamp) {
        if !self.closed {
            self.unwritten.write(&self.folder, now);
        }
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
            self.count_lost_result(&name);
        }
    }

    fn remove(&mut self, name: &str) {
        self.stored.remove(name);
        self.unwritten.remove(name);
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
