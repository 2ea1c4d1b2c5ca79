//! Results that the disk has refused: kept in memory until they can be written, up to a limit. They can be fetched meanwhile.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    path::Path,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    meta::ProfileMeta,
    result_writer::{IN_MEMORY_MAX, file_name, make_folder, write_file, write_from},
};

/// Limit of all these results together.
const ALL_MAX: u64 = 2 * IN_MEMORY_MAX;
/// Pause between two attempts to write them.
const RETRY_INTERVAL: SignedDuration = SignedDuration::from_secs(5);

#[derive(Default)]
pub(super) struct UnwrittenResults {
    by_name: BTreeMap<String, Unwritten>,
    tried: Option<Timestamp>,
}

struct Unwritten {
    meta: ProfileMeta,
    folded: File,
    svg: File,
}

impl UnwrittenResults {
    /// Keeps a result; returns the names of older ones that had to go for it.
    pub(super) fn insert(&mut self, meta: ProfileMeta, folded: File, svg: File, now: Timestamp) -> Vec<String> {
        self.tried = Some(now);
        self.by_name.insert(meta.name.clone(), Unwritten { meta, folded, svg });
        let mut removed = Vec::new();
        while self.bytes() > ALL_MAX && self.by_name.len() > 1 {
            let oldest =
                self.by_name.values().min_by_key(|result| result.meta.ended).map(|result| result.meta.name.clone());
            let Some(oldest) = oldest else { break };
            self.by_name.remove(&oldest);
            removed.push(oldest);
        }
        removed
    }

    fn bytes(&self) -> u64 {
        self.by_name.values().map(|result| result.meta.folded_bytes + result.meta.svg_bytes).sum()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// Forgets all; returns their names.
    pub(super) fn clear(&mut self) -> Vec<String> {
        std::mem::take(&mut self.by_name).into_keys().collect()
    }

    /// The two files of a result at their beginning; none if it is not one of these.
    pub(super) fn open(&self, name: &str) -> io::Result<Option<(File, File)>> {
        match self.by_name.get(name) {
            Some(result) => Ok(Some((reopen(&result.folded)?, reopen(&result.svg)?))),
            None => Ok(None),
        }
    }

    /// Writes as many as the disk accepts, if the last attempt is some time ago.
    pub(super) fn write(&mut self, folder: &Path, now: Timestamp) {
        let due = self.tried.is_none_or(|tried| now.duration_since(tried) >= RETRY_INTERVAL);
        if self.by_name.is_empty() || !due {
            return;
        }
        self.tried = Some(now);
        self.by_name.retain(|name, result| match result.write(folder) {
            Ok(()) => {
                tracing::info!(profile = %name, "a result that could not be written before is on the disk now");
                false
            }
            Err(error) => {
                tracing::debug!(profile = %name, %error, "a result still cannot be written");
                true
            }
        });
    }
}

impl Unwritten {
    fn write(&self, folder: &Path) -> io::Result<()> {
        make_folder(folder)?;
        let path = folder.join(file_name(&self.meta.name));
        let files = [("folded", &self.folded), ("svg", &self.svg)];
        let written = files
            .iter()
            .try_for_each(|(extension, file)| write_from(&path.with_extension(extension), &mut reopen(file)?))
            .and_then(|()| write_file(&path.with_extension("json"), &serde_json::to_vec(&self.meta)?));
        if written.is_err() {
            // Without metadata the next agent would count them as lost a second time.
            files.iter().for_each(|(extension, _)| drop(fs::remove_file(path.with_extension(extension))));
        }
        written
    }
}

/// The same file with a position of its own.
fn reopen(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
