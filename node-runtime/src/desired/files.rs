//! The desired state of a machine without a cluster: resources in files, planned by the planner that the operator uses.

use std::{fs, io, io::Read, path::PathBuf};

use jiff::Timestamp;
use trilobite_crds::{
    files::{Resource, desired_from_resources, parse_documents},
    node::Desired,
    planner::Refusal,
};

/// Why the files were not taken. All that is wrong is said at once.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Documents that are no resources of ours; each line names file, document and field.
    #[error("{}", .0.join("\n"))]
    Parse(Vec<String>),
}

/// Reads the files; `-` is standard input.
pub fn read(files: &[PathBuf]) -> Result<Vec<Resource>, FilesError> {
    let mut resources: Vec<Resource> = Vec::new();
    let mut wrong = Vec::new();
    for path in files {
        let text = text_of(path).map_err(|source| FilesError::Read { path: path.clone(), source })?;
        match parse_documents(&text, &path.display().to_string()) {
            Ok(found) => resources.extend(found),
            Err(errors) => wrong.extend(errors.iter().map(ToString::to_string)),
        }
    }
    if !wrong.is_empty() {
        return Err(FilesError::Parse(wrong));
    }
    Ok(resources)
}

/// Plans them: what is asked for a time begins at `now`.
pub fn plan(resources: &[Resource], now: Timestamp) -> (Desired, Vec<Refusal>) {
    desired_from_resources(resources, now)
}

fn text_of(path: &PathBuf) -> io::Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(path)
}
