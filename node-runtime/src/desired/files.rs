//! The desired state from files, planned by the same planner as the operator's.

use std::{fs, io, io::Read, path::PathBuf};

use jiff::Timestamp;
use trilobite_crds::{
    files::{Resource, desired_from_resources, parse_documents},
    node::Desired,
    planner::Refusal,
};

/// Why the files were refused; every error is reported at once.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    /// Invalid documents; each line names file, document and field.
    #[error("{}", .0.join("\n"))]
    Parse(Vec<String>),
}

/// Reads the files; `-` is standard input.
pub fn read(files: &[PathBuf]) -> Result<Vec<Resource>, FilesError> {
    let mut resources: Vec<Resource> = Vec::new();
    let mut invalid = Vec::new();
    for path in files {
        let text = read_text(path).map_err(|source| FilesError::Read { path: path.clone(), source })?;
        match parse_documents(&text, &path.display().to_string()) {
            Ok(found) => resources.extend(found),
            Err(errors) => invalid.extend(errors.iter().map(ToString::to_string)),
        }
    }
    if !invalid.is_empty() {
        return Err(FilesError::Parse(invalid));
    }
    Ok(resources)
}

/// Plans the resources; sessions start at `now`.
pub fn plan(resources: &[Resource], now: Timestamp) -> (Desired, Vec<Refusal>) {
    desired_from_resources(resources, now)
}

fn read_text(path: &PathBuf) -> io::Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(path)
}
