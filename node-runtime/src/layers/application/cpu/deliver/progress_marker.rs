//! A file that says how far a running profile is, so that the next agent knows what this one has lost if it dies.

use std::{fs, io, path::Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::result_writer::write_file;

/// Extension of the file.
pub(super) const EXTENSION: &str = "running";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProgressMarker {
    /// `namespace/name` of the AppProfile.
    pub(super) name: String,
    /// Tells the profile from others of the same name.
    pub(super) expires_at: Timestamp,
    /// Samples so far, including lost ones and those of previous agents.
    pub(super) samples: u64,
}

impl ProgressMarker {
    /// None if there is no such file, or it is not a marker.
    pub(super) fn read(path: &Path) -> Option<Self> {
        fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        write_file(path, &serde_json::to_vec(self)?)
    }
}
