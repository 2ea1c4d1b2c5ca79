//! Where files are: scripts and consoles in the work tree, kernels in the store that all clones share.

use std::path::{Path, PathBuf};

use trilobite_cluster::{Cache, build::Inputs, store_folder};

use crate::kernels::{Kernel, Purpose};

/// The directories that everything is found below.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    scripts: PathBuf,
    kernels: PathBuf,
    consoles: PathBuf,
}

/// Started outside of the project.
#[derive(Debug, thiserror::Error)]
#[error("no e2e/kernels/init at or above {}: start this inside the project's work tree", .0.display())]
pub(crate) struct OutsideOfTheProject(PathBuf);

impl Paths {
    /// Looks upwards from `start` for the work tree.
    pub(crate) fn find(start: &Path) -> Result<Self, OutsideOfTheProject> {
        let root = start
            .ancestors()
            .find(|directory| directory.join("e2e/kernels/init").is_dir())
            .ok_or_else(|| OutsideOfTheProject(start.to_owned()))?;
        Ok(Self {
            scripts: root.join("e2e/kernels"),
            kernels: store_folder().join("kernels"),
            consoles: root.join("target/kernels"),
        })
    }

    /// `init`, `harness`, `smoke` or `acts`.
    pub(crate) fn scripts(&self, kind: &str) -> PathBuf {
        self.scripts.join(kind)
    }

    /// What the kernels said, for the table in docs.
    pub(crate) fn verdicts(&self) -> PathBuf {
        self.scripts.join("verdicts.tsv")
    }

    /// Apt's private root: sources, lists and nothing of the machine's.
    pub(crate) fn apt(&self) -> PathBuf {
        self.kernels.join("apt")
    }

    /// Held while kernels are fetched: clones share apt's root.
    pub(crate) fn lock(&self) -> PathBuf {
        self.kernels.join("lock")
    }

    /// The output of one kernel's console, one file a boot.
    pub(crate) fn consoles(&self, kernel: Kernel) -> PathBuf {
        self.consoles.join(kernel.series)
    }

    /// One kernel's image and modules. The archive has one build of a series at a time, so that its version is no input.
    pub(crate) fn kernel(&self, kernel: Kernel, purpose: Purpose) -> PathBuf {
        let inputs = Inputs::default().word(kernel.series).word(kernel.suite);
        let inputs = purpose.modules().iter().fold(inputs, |inputs, module| inputs.word(module));
        self.kernels.join(format!("{}-{}", kernel.series, inputs.key()))
    }

    /// The link by which `trilobite-cluster` finds a kernel that was fetched for its nodes.
    pub(crate) fn node_kernel_link(kernel: Kernel) -> PathBuf {
        Cache::from_environment().guest_kernel_link(kernel.series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_in_the_shared_store_and_consoles_in_this_clone() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let paths = Paths::find(&root.join("e2e/kernels/src")).unwrap();
        let kernels = crate::kernels::KERNELS;
        let [old, new] = [0, 3].map(|number| paths.kernel(kernels[number], Purpose::Tests));
        assert!(old.starts_with(store_folder().join("kernels")) && old != new, "{}", old.display());
        assert_eq!(paths.consoles(kernels[0]), root.join("target/kernels/5.10"));
    }

    #[test]
    fn kernel_of_a_node_is_kept_beside_that_of_the_tests() {
        let paths = Paths::find(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let kernel = crate::kernels::KERNELS[2];
        assert_ne!(paths.kernel(kernel, Purpose::Tests), paths.kernel(kernel, Purpose::Node));
        assert!(Paths::node_kernel_link(kernel).ends_with("target/cache/kernels/6.12"));
    }
}
