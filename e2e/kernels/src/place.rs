//! Where things are: the scripts and the consoles in the work tree, the kernels in the cache, which other work trees may share.

use std::path::{Path, PathBuf};

use crate::kernels::Kernel;

/// The directories that everything is found below.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    scripts: PathBuf,
    kernels: PathBuf,
    consoles: PathBuf,
}

/// Started outside of the project.
#[derive(Debug, thiserror::Error)]
#[error("no e2e/kernels/init at or above {}: start this inside the project's work tree", .0.display())]
pub(crate) struct OutsideOfTheProject(PathBuf);

impl Place {
    /// Looks upwards from `start` for the work tree; `cache` overrides its `target/cache`.
    pub(crate) fn find(start: &Path, cache: Option<PathBuf>) -> Result<Self, OutsideOfTheProject> {
        let root = start
            .ancestors()
            .find(|directory| directory.join("e2e/kernels/init").is_dir())
            .ok_or_else(|| OutsideOfTheProject(start.to_owned()))?;
        let cache = cache.unwrap_or_else(|| root.join("target/cache"));
        Ok(Self {
            scripts: root.join("e2e/kernels"),
            kernels: cache.join("kernels"),
            consoles: root.join("target/kernels"),
        })
    }

    /// `init`, `harness` or `smoke`.
    pub(crate) fn scripts(&self, kind: &str) -> PathBuf {
        self.scripts.join(kind)
    }

    /// Apt's private root: sources, lists and nothing of the machine's.
    pub(crate) fn apt(&self) -> PathBuf {
        self.kernels.join("apt")
    }

    /// What one kernel's console said, one file a boot.
    pub(crate) fn consoles(&self, kernel: Kernel) -> PathBuf {
        self.consoles.join(kernel.series)
    }

    /// One kernel's image and modules.
    pub(crate) fn kernel(&self, kernel: Kernel) -> PathBuf {
        self.kernels.join(kernel.series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_in_target_unless_it_is_said_where() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let kernel = crate::kernels::KERNELS[0];
        assert_eq!(Place::find(&here, None).unwrap().kernel(kernel), root.join("target/cache/kernels/5.10"));
        let elsewhere = Place::find(&here, Some("/var/cache/x".into())).unwrap();
        assert_eq!(elsewhere.kernel(kernel), Path::new("/var/cache/x/kernels/5.10"));
    }
}
