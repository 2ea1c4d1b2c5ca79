//! One thing that is made from inputs: made again only when they have changed.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::{files, progress};

/// What goes into a thing: file contents and words, in order.
#[derive(Clone, Default)]
pub(super) struct Inputs(Sha256);

impl Inputs {
    pub(super) fn word(mut self, word: &str) -> Self {
        self.0.update((word.len() as u64).to_le_bytes());
        self.0.update(word);
        self
    }

    pub(super) fn file(mut self, path: &Path) -> Result<Self> {
        let bytes = files::read_bytes(path)?;
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        Ok(self)
    }

    /// Every file of a folder and below it, by name.
    pub(super) fn folder(self, path: &Path) -> Result<Self> {
        let entries = std::fs::read_dir(path).map_err(Error::file("read", path))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.into_iter().try_fold(self, |inputs, path| {
            let inputs = inputs.word(&path.file_name().unwrap_or_default().to_string_lossy());
            if path.is_dir() { inputs.folder(&path) } else { inputs.file(&path) }
        })
    }

    fn key(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Makes `output` by `make`, unless it is there and was made from the same inputs.
pub(super) fn build(cache: &Cache, output: &Path, inputs: Inputs, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let shown = output.strip_prefix(cache.folder()).unwrap_or(output);
    let noted = cache.folder().join("keys").join(shown);
    let key = inputs.key();
    if output.exists() && files::read(&noted).is_ok_and(|old| old == key) {
        eprintln!("   there   {}", shown.display());
        return Ok(());
    }
    eprintln!("          building {}", shown.display());
    progress::step(&shown.display().to_string(), make)?;
    files::write(&noted, key)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_thing_is_made_again_only_when_its_inputs_change_or_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, output) = (Cache::at(folder.path()), folder.path().join("bin/thing"));
        let made = Cell::new(0);
        let make = |word: &str| {
            build(&cache, &output, Inputs::default().word(word), || {
                made.set(made.get() + 1);
                files::write(&output, word)
            })
            .unwrap();
            made.get()
        };
        assert_eq!([make("a"), make("a"), make("b"), make("b")], [1, 1, 2, 2]);
        files::remove(&output).unwrap();
        assert_eq!(make("b"), 3);
    }

    #[test]
    fn a_thing_that_could_not_be_made_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, output) = (Cache::at(folder.path()), folder.path().join("thing"));
        let fail = || Err(Error::Refused("no".to_owned()));
        assert!(build(&cache, &output, Inputs::default(), fail).is_err());
        build(&cache, &output, Inputs::default(), || files::write(&output, "x")).unwrap();
    }

    #[test]
    fn words_do_not_run_into_each_other() {
        let key = |words: &[&str]| words.iter().fold(Inputs::default(), |inputs, word| inputs.word(word)).key();
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    }
}
