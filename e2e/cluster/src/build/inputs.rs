//! The key of a cache entry: a hash of everything that goes into it.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::files;

/// File contents and words, in order.
#[derive(Clone, Default)]
pub struct Inputs(Sha256);

impl Inputs {
    /// Adds a word: a version, a flag, a name.
    #[must_use]
    pub fn word(mut self, word: &str) -> Self {
        self.0.update((word.len() as u64).to_le_bytes());
        self.0.update(word);
        self
    }

    /// Adds the content of a file.
    pub fn file(mut self, path: &Path) -> Result<Self> {
        let bytes = files::read_bytes(path)?;
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        Ok(self)
    }

    /// Adds every file of a folder and below it, by name.
    pub(super) fn folder(self, path: &Path) -> Result<Self> {
        let entries = std::fs::read_dir(path).map_err(Error::file("read", path))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.into_iter().try_fold(self, |inputs, path| {
            let inputs = inputs.word(&path.file_name().unwrap_or_default().to_string_lossy());
            if path.is_dir() { inputs.folder(&path) } else { inputs.file(&path) }
        })
    }

    /// The first 80 bits of the hash, in hexadecimal: short enough for a path, long enough for a cache.
    #[must_use]
    pub fn key(self) -> String {
        self.0.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_do_not_run_into_each_other() {
        let key = |words: &[&str]| words.iter().fold(Inputs::default(), |inputs, word| inputs.word(word)).key();
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    }
}
