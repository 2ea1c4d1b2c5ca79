//! Built programs and images: entries keyed by their inputs in a store that all clones share, and a folder of links to them.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The workspace's root folder.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The store that clones share: `TRILOBITE_CACHE`, or `trilobite` in the user's cache folder.
#[must_use]
pub fn store_folder() -> PathBuf {
    choose_store(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
}

/// Without any of the variables (no home), the store is in this clone.
fn choose_store(variable: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    variable("TRILOBITE_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("trilobite")))
        .or_else(|| Some(variable("HOME")?.join(".cache/trilobite")))
        .unwrap_or_else(|| workspace_root().join("target/cache/store"))
}

/// What this clone has built: links below `target/cache` to entries of the shared store.
#[derive(Debug, Clone)]
pub struct Cache {
    links: PathBuf,
    store: PathBuf,
}

impl Cache {
    /// The links of this clone and the shared store.
    #[must_use]
    pub fn from_environment() -> Self {
        Self { links: workspace_root().join("target/cache"), store: store_folder() }
    }

    /// A cache with its links in this folder and a store of its own.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        let links = folder.into();
        Self { store: links.join("store"), links }
    }

    pub(crate) fn links(&self) -> &Path {
        &self.links
    }

    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.links.join("bin")
    }

    /// A program that `build` made: `kubectl`, `tetra`, `hubble`, `helm`, `kubelet`...
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.bin().join(name);
        let part = if matches!(name, "tetra" | "hubble" | "helm") { " clients" } else { "" };
        existing(path, part)
    }

    /// The archives of the images that every node gets.
    pub fn image_archives(&self) -> Result<Vec<PathBuf>> {
        let names = ["pause", "coredns", "trilobite-workloads"].iter();
        names.map(|name| existing(self.links.join(format!("images/{name}.tar")), "")).collect()
    }

    /// The image of real servers, which `build servers` makes.
    pub fn servers_archive(&self) -> Result<PathBuf> {
        existing(self.links.join("images/trilobite-servers.tar"), " servers")
    }

    /// The link to a kernel for guests and its modules, which `trilobite-kernels fetch --node` makes.
    #[must_use]
    pub fn guest_kernel_link(&self, series: &str) -> PathBuf {
        self.links.join("kernels").join(series)
    }

    pub(crate) fn guest_kernel(&self, series: &str) -> Result<PathBuf> {
        let link = self.guest_kernel_link(series);
        link.canonicalize().map_err(|_| {
            Error::Missing(format!(
                "there is no kernel {series} for a guest: run `cargo run -p trilobite-kernels -- fetch --node --kernel {series}` first"
            ))
        })
    }
}

fn existing(path: PathBuf, part: &str) -> Result<PathBuf> {
    if path.exists() {
        return Ok(path);
    }
    Err(Error::Missing(format!(
        "{} is missing: run `cargo run -p trilobite-cluster -- build{part}` first",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_names_the_command_that_builds_it() {
        let empty = Cache::at("/nonexistent");
        assert!(empty.program("tetra").unwrap_err().to_string().contains("-- build clients"));
        assert!(empty.program("kubectl").unwrap_err().to_string().contains("-- build`"));
    }

    #[test]
    fn missing_kernel_names_the_command_that_fetches_it() {
        let error = Cache::at("/nonexistent").guest_kernel("6.12").unwrap_err().to_string();
        assert!(error.contains("fetch --node --kernel 6.12"), "{error}");
    }

    #[test]
    fn workspace_root_holds_the_lock_file() {
        assert!(workspace_root().join("Cargo.lock").exists());
    }

    #[test]
    fn store_is_in_the_users_cache_unless_it_is_named() {
        let with = |set: &'static [(&str, &str)]| {
            choose_store(move |name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value)))
        };
        assert_eq!(with(&[("HOME", "/h")]), Path::new("/h/.cache/trilobite"));
        assert_eq!(with(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), Path::new("/x/trilobite"));
        assert_eq!(with(&[("HOME", "/h"), ("TRILOBITE_CACHE", "/t")]), Path::new("/t"));
        assert_eq!(with(&[]), workspace_root().join("target/cache/store"));
    }
}
