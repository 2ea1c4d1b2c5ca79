//! Reads the folder of results after a restart of the agent: complete results are kept, incomplete ones are removed and counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    meta::ProfileMeta,
    progress_marker::{self, ProgressMarker},
    result_writer::file_name,
};
use crate::loss::{Ledger, LossPoint};

/// The complete results. Markers of profiles that have not expired stay: those profiles will be started again.
pub(super) fn recover_results(folder: &Path, ledger: &Ledger, now: Timestamp) -> BTreeMap<String, ProfileMeta> {
    let paths = || fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut kept = BTreeMap::new();
    let mut files_of_results = BTreeSet::new();
    for path in paths().filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
        let meta = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<ProfileMeta>(&bytes).ok());
        let parts = ["folded", "svg"].map(|extension| path.with_extension(extension));
        if let Some(meta) = meta
            && path == folder.join(file_name(&meta.name)).with_extension("json")
            && parts.iter().all(|part| part.exists())
        {
            kept.insert(meta.name.clone(), meta);
            files_of_results.extend(parts);
            files_of_results.insert(path);
        }
    }
    let mut orphans: BTreeSet<PathBuf> = BTreeSet::new();
    for path in paths().filter(|path| !files_of_results.contains(path)) {
        let extension = path.extension().unwrap_or_default();
        if extension == progress_marker::EXTENSION {
            // An expired profile is not started again, so its samples are lost.
            match ProgressMarker::read(&path) {
                Some(marker) if marker.expires_at > now => continue,
                Some(marker) => {
                    ledger.record_loss(LossPoint::Worker, &format!("AppProfile/{}", marker.name), marker.samples);
                }
                None => {}
            }
            let _ = fs::remove_file(&path);
            continue;
        }
        let _ = fs::remove_file(&path);
        if extension != "part" {
            orphans.insert(path.with_extension(""));
        }
    }
    ledger.record_loss(LossPoint::ResultStore, "", orphans.len() as u64);
    kept
}
