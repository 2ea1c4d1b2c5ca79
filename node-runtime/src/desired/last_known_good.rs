//! State files: the active state, the known pods and namespace labels on local disk, so that an agent that starts while the
//! API server is away resumes within seconds. A truncated or changed file is refused as a whole and renamed to `.refused`.

use std::{
    fs, io,
    io::Write,
    marker::PhantomData,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::ActiveState;
use crate::{
    identity::{KnownProcesses, Pod, selection::Namespaces},
    kernel::node_path::on_node,
};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

const MAGIC: &str = "trilobite-last-good/1";

/// The active state.
pub type LastKnownGood = StateFile<ActiveState>;
/// The pods of this node.
pub type KnownPods = StateFile<Vec<Pod>>;
/// Labels of namespaces; written only while a selection uses them.
pub type KnownNamespaces = StateFile<Namespaces>;
/// Images of running processes as their execs were seen.
pub type ProcessesFile = StateFile<KnownProcesses>;

/// Creates the state directory with mode 0700, because it holds pod labels and policies. With `is_exclusive` the mode of an
/// existing directory is tightened as well.
pub fn make_folder(state_dir: &Path, is_exclusive: bool) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    // The kubelet creates hostPath directories with mode 0755.
    if is_exclusive { fs::set_permissions(state_dir, fs::Permissions::from_mode(0o700)) } else { Ok(()) }
}

/// One state file. Its modification time is the agent's last sign of life.
#[derive(Clone, Debug)]
pub struct StateFile<T> {
    path: PathBuf,
    what: PhantomData<T>,
}

/// Why a state file was not used.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// Truncated, changed, or of another version.
    #[error("{path}: {detail}")]
    Refused {
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

impl LastKnownGood {
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("last-good"), what: PhantomData }
    }
}

impl KnownPods {
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("known-pods"), what: PhantomData }
    }
}

impl KnownNamespaces {
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("known-namespaces"), what: PhantomData }
    }
}

impl ProcessesFile {
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("known-processes"), what: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> StateFile<T> {
    /// A file of another room, by its name in the state directory.
    pub fn named(state_dir: &Path, name: &str) -> Self {
        Self { path: state_dir.join(name), what: PhantomData }
    }

    /// `None` when the file does not exist. A refused file is renamed to `.refused`.
    pub fn read(&self) -> Result<Option<T>, StateFileError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.io(source)),
        };
        parse(&bytes).map(Some).map_err(|detail| {
            if let Err(error) = fs::rename(&self.path, self.refused()) {
                tracing::warn!(%error, path = %self.path.display(), "a refused state file could not be renamed");
            }
            StateFileError::Refused { path: on_node(&self.path), detail }
        })
    }

    /// Replaces the file atomically.
    pub fn write(&self, value: &T) -> Result<(), StateFileError> {
        let bytes = render(value).map_err(|error| self.io(io::Error::other(error)))?;
        let temporary = self.path.with_extension("new");
        // A file left by a crash may have another mode.
        let _ = fs::remove_file(&temporary);
        let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
        let written = made.and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&temporary, &self.path)).map_err(|source| {
            // A partial file would only fill the disk further.
            let _ = fs::remove_file(&temporary);
            self.io(source)
        })
    }

    /// A file that does not exist is no error.
    pub fn remove(&self) -> Result<(), StateFileError> {
        match fs::remove_file(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(self.io(source)),
            _ => Ok(()),
        }
    }

    /// The last sign of life of an agent; a refused file counts as well.
    pub fn last_alive(&self) -> Option<SystemTime> {
        let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        modified(&self.path).or_else(|| modified(&self.refused()))
    }

    /// Updates the modification time as a sign of life.
    pub fn touch(&self) {
        if let Ok(file) = fs::OpenOptions::new().append(true).open(&self.path)
            && let Err(error) = file.set_modified(SystemTime::now())
        {
            tracing::debug!(%error, "the modification time of the state file could not be set");
        }
    }

    fn refused(&self) -> PathBuf {
        self.path.with_extension("refused")
    }

    fn io(&self, source: io::Error) -> StateFileError {
        StateFileError::Io { path: on_node(&self.path), source }
    }
}

/// A header line with magic, length and SHA-256 of the body, then the body as JSON.
fn render<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let body = serde_json::to_vec(value)?;
    let mut bytes = format!("{MAGIC} {} {}\n", body.len(), hex(&body)).into_bytes();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("no header")?;
    let header = std::str::from_utf8(&bytes[..end]).map_err(|_| "the header is not text")?;
    let body = &bytes[end + 1..];
    let [magic, length, digest]: [&str; 3] =
        header.split(' ').collect::<Vec<_>>().try_into().map_err(|_| "the header has not three words")?;
    if magic != MAGIC {
        return Err(format!("made by another version ({magic})"));
    }
    if length.parse() != Ok(body.len()) {
        return Err(format!("{} bytes where the header says {length}", body.len()));
    }
    if digest != hex(body) {
        return Err("the digest does not fit".into());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trilobite_crds::node::{Desired, ExportPlan};

    use super::*;

    fn sample() -> ActiveState {
        let export = ExportPlan { stdout: true, ..ExportPlan::default() };
        ActiveState {
            desired: Desired { suspended: true, export, ..Desired::default() },
            previous_versions: Vec::new(),
        }
    }

    #[test]
    fn written_state_is_read_back() {
        assert_eq!(parse(&render(&sample()).unwrap()), Ok(sample()));
    }

    #[test]
    fn truncated_file_is_refused() {
        let whole = render(&sample()).unwrap();
        for length in 0..whole.len() {
            assert!(parse::<ActiveState>(&whole[..length]).is_err(), "{length} bytes were accepted");
        }
    }

    #[test]
    fn one_changed_byte_is_refused() {
        let mut bytes = render(&sample()).unwrap();
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        assert!(parse::<ActiveState>(&bytes).is_err());
    }

    /// A fresh folder for one test.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("trilobite-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn refused_file_is_renamed_and_still_a_sign_of_life() {
        let folder = folder("refused");
        make_folder(&folder, true).unwrap();
        let kept = LastKnownGood::new(&folder);
        fs::write(folder.join("last-good"), "half").unwrap();
        assert!(matches!(kept.read(), Err(StateFileError::Refused { .. })));
        assert_eq!(fs::read(folder.join("last-good.refused")).unwrap(), b"half");
        assert!(kept.read().unwrap().is_none() && kept.last_alive().is_some());
        kept.write(&sample()).unwrap();
        assert_eq!(kept.read().unwrap(), Some(sample()));
        assert!(folder.join("last-good.refused").exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn state_is_private_also_where_an_older_agent_left_it_open() {
        let folder = folder("mode");
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.join("last-good.new"), "").unwrap();
        make_folder(&folder, true).unwrap();
        LastKnownGood::new(&folder).write(&sample()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("last-good"))), (0o700, 0o600));
        fs::remove_dir_all(folder).unwrap();
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            let _ = parse::<ActiveState>(&bytes);
        }
    }
}
