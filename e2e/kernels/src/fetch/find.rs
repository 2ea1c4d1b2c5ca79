//! Searches an unpacked package.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::error::FetchError;

/// The first regular file below `directory` whose name is `wanted`.
pub(super) fn find(directory: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Option<PathBuf>, FetchError> {
    for entry in fs::read_dir(directory).map_err(FetchError::file("list", directory))? {
        let entry = entry.map_err(FetchError::file("list", directory))?;
        let kind = entry.file_type().map_err(FetchError::file("look at", &entry.path()))?;
        if kind.is_dir() {
            if let Some(found) = find(&entry.path(), wanted)? {
                return Ok(Some(found));
            }
        } else if kind.is_file() && wanted(&entry.file_name().to_string_lossy()) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
