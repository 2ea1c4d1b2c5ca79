//! What was in force, and which pods were here, when this node last knew: kept on local disk, so that an agent that starts
//! while the API server is away resumes within seconds. A file that is not whole is refused, never half-believed, and is
//! set aside for whoever wants to look at it.

use std::{
    fs, io,
    io::Write,
    marker::PhantomData,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::InForce;
use crate::identity::{Pod, slots::Namespaces};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

const MAGIC: &str = "trilobite-last-good/1";

/// What was in force.
pub type LastGood = Kept<InForce>;
/// The pods of this node.
pub type KnownPods = Kept<Vec<Pod>>;
/// Labels of namespaces, where a selection asks for them.
pub type KnownNamespaces = Kept<Namespaces>;

/// Makes the folder of this node's state for this user alone: pods' labels and policies are nobody else's matter. `own` says
/// that it is nobody else's folder, so that one which is there already may be closed as well.
pub fn make_folder(state_dir: &Path, own: bool) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    // The kubelet makes it open to everybody.
    if own { fs::set_permissions(state_dir, fs::Permissions::from_mode(0o700)) } else { Ok(()) }
}

/// One file; its modification time says when an agent was last known to be alive.
#[derive(Clone, Debug)]
pub struct Kept<T> {
    path: PathBuf,
    what: PhantomData<T>,
}

/// Why the file was not used.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It is not whole: a write was cut short, or somebody changed it.
    #[error("{path}: {detail}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
}

impl LastGood {
    /// The file of this state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("last-good"), what: PhantomData }
    }
}

impl KnownPods {
    /// The file of this state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("known-pods"), what: PhantomData }
    }
}

impl KnownNamespaces {
    /// The file of this state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("known-namespaces"), what: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> Kept<T> {
    /// Reads it. `None` where there is none yet. One that is refused is set aside, with `.refused` at the end of its name.
    pub fn read(&self) -> Result<Option<T>, LastGoodError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.io(source)),
        };
        parse(&bytes).map(Some).map_err(|detail| {
            if let Err(error) = fs::rename(&self.path, self.refused()) {
                tracing::warn!(%error, path = %self.path.display(), "what was refused could not be set aside");
            }
            LastGoodError::Refused { path: self.path.clone(), detail }
        })
    }

    /// Replaces it whole: a crash leaves the old or the new one.
    pub fn write(&self, value: &T) -> Result<(), LastGoodError> {
        let bytes = render(value).map_err(|error| self.io(io::Error::other(error)))?;
        let beside = self.path.with_extension("new");
        // Not the mode of one that a crash has left.
        let _ = fs::remove_file(&beside);
        let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
        let written = made.and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&beside, &self.path)).map_err(|source| {
            // Half a file on a full disk helps nobody.
            let _ = fs::remove_file(&beside);
            self.io(source)
        })
    }

    /// When an agent last said that it was alive. A file that was refused since tells it as well.
    pub fn last_alive(&self) -> Option<SystemTime> {
        let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        modified(&self.path).or_else(|| modified(&self.refused()))
    }

    /// Says that this agent is alive: only the file's time changes.
    pub fn touch(&self) {
        if let Ok(file) = fs::OpenOptions::new().append(true).open(&self.path)
            && let Err(error) = file.set_modified(SystemTime::now())
        {
            tracing::debug!(%error, "the last good state's time could not be set");
        }
    }

    fn refused(&self) -> PathBuf {
        self.path.with_extension("refused")
    }

    fn io(&self, source: io::Error) -> LastGoodError {
        LastGoodError::Io { path: self.path.clone(), source }
    }
}

/// One header line with length and digest, then JSON.
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

    fn some() -> InForce {
        let export = ExportPlan { stdout: true, file: None };
        InForce { desired: Desired { suspended: true, export, ..Desired::default() }, standing: Vec::new() }
    }

    #[test]
    fn what_was_written_is_read_again() {
        assert_eq!(parse(&render(&some()).unwrap()), Ok(some()));
    }

    #[test]
    fn a_file_cut_short_anywhere_is_refused() {
        let whole = render(&some()).unwrap();
        for length in 0..whole.len() {
            assert!(parse::<InForce>(&whole[..length]).is_err(), "{length} bytes were believed");
        }
    }

    #[test]
    fn one_changed_byte_is_refused() {
        let mut bytes = render(&some()).unwrap();
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        assert!(parse::<InForce>(&bytes).is_err());
    }

    /// A folder that no test before had.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("trilobite-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn a_refused_file_is_set_aside_whole_and_still_says_when_an_agent_was_alive() {
        let folder = folder("refused");
        make_folder(&folder, true).unwrap();
        let kept = LastGood::new(&folder);
        fs::write(folder.join("last-good"), "half").unwrap();
        assert!(matches!(kept.read(), Err(LastGoodError::Refused { .. })));
        assert_eq!(fs::read(folder.join("last-good.refused")).unwrap(), b"half");
        assert!(kept.read().unwrap().is_none() && kept.last_alive().is_some());
        kept.write(&some()).unwrap();
        assert_eq!(kept.read().unwrap(), Some(some()));
        assert!(folder.join("last-good.refused").exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_kept_is_for_this_user_alone_also_where_an_older_agent_left_it_open() {
        let folder = folder("mode");
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.join("last-good.new"), "").unwrap();
        make_folder(&folder, true).unwrap();
        LastGood::new(&folder).write(&some()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("last-good"))), (0o700, 0o600));
        fs::remove_dir_all(folder).unwrap();
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            let _ = parse::<InForce>(&bytes);
        }
    }
}
