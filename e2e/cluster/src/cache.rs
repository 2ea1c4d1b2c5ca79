//! Where the built programs and images are kept, and what belongs there.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The workspace's root folder.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The folder of everything that `build` made.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache that `TRILOBITE_CACHE` names, or `target/cache` of the workspace.
    #[must_use]
    pub fn from_environment() -> Self {
        let named = std::env::var_os("TRILOBITE_CACHE").filter(|v| !v.is_empty());
        Self { folder: named.map_or_else(|| workspace_root().join("target/cache"), PathBuf::from) }
    }

    /// A cache in this folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.folder.join("bin")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.folder.join("images")
    }

    /// A program that `build` made: `kubectl`, `tetra`, `hubble`, `helm`, `kubelet`...
    ///
    /// # Errors
    /// When it was not built yet; the error says how to.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.bin().join(name);
        let part = if matches!(name, "tetra" | "hubble" | "helm") { " clients" } else { "" };
        existing(path, part)
    }

    /// The archives of the images that every node gets.
    ///
    /// # Errors
    /// When one was not built yet.
    pub fn image_archives(&self) -> Result<Vec<PathBuf>> {
        let names = ["pause", "coredns", "trilobite-workloads"].iter();
        names.map(|name| existing(self.images().join(format!("{name}.tar")), "")).collect()
    }
}

fn existing(path: PathBuf, part: &str) -> Result<PathBuf> {
    if path.exists() {
        return Ok(path);
    }
    Err(Error::Missing(format!(
        "{} is not there: run `cargo run -p trilobite-cluster -- build{part}` first",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_not_built_is_refused_with_the_command_that_builds_it() {
        let empty = Cache::at("/nonexistent");
        assert!(empty.program("tetra").unwrap_err().to_string().contains("-- build clients"));
        assert!(empty.program("kubectl").unwrap_err().to_string().contains("-- build`"));
    }

    #[test]
    fn the_workspace_root_holds_the_lock_file() {
        assert!(workspace_root().join("Cargo.lock").exists());
    }
}
