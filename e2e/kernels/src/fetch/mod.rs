//! Gets each kernel's image and modules from Debian's packages into the cache, once. Nothing of the machine's apt changes.

mod apt;
mod mirror;
mod modules;
mod package;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    console::say,
    kernels::{Kernel, MODULES},
    place::Place,
    program::ProgramError,
};

/// The file that is written last: with it, a kernel's directory is complete.
const COMPLETE: &str = "packages";

/// Why a kernel is not in the cache.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("{doing} {}: {error}", path.display())]
    File { doing: &'static str, path: PathBuf, error: io::Error },
    #[error("the machine's apt sources name no Debian archive to get kernels from")]
    NoMirror,
    #[error("{suite} has no linux-image-cloud-amd64 of {series}")]
    NoSuchKernel { series: &'static str, suite: &'static str },
    #[error("package {0} is named as a dependency, but the archive does not have it")]
    NoSuchPackage(String),
    #[error("no vmlinuz in the packages of {0}")]
    NoImage(&'static str),
    #[error("kernel {series} has no module {module}, neither as a file nor built in")]
    NoModule { series: &'static str, module: String },
}

impl FetchError {
    fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { doing, path, error }
    }
}

/// Whether a kernel's image and modules are in the cache.
pub(crate) fn is_cached(place: &Place, kernel: Kernel) -> bool {
    place.kernel(kernel).join(COMPLETE).is_file()
}

/// Makes sure that all of `kernels` are in the cache; `again` asks the archive even for those that are.
pub(crate) fn fetch(place: &Place, kernels: &[Kernel], again: bool) -> Result<(), FetchError> {
    let (cached, missing): (Vec<Kernel>, Vec<Kernel>) =
        kernels.iter().partition(|kernel| !again && is_cached(place, **kernel));
    for kernel in cached {
        let packages = place.kernel(kernel).join(COMPLETE);
        let names = fs::read_to_string(&packages).map_err(FetchError::file("read", &packages))?;
        say(&format!("kernel {}: in the cache ({})", kernel.series, names.lines().next().unwrap_or_default()));
    }
    if missing.is_empty() {
        return Ok(());
    }
    say("reading Debian's package lists");
    let apt = apt::PrivateApt::new(place.apt(), &missing)?;
    missing.into_iter().try_for_each(|kernel| one(place, &apt, kernel))
}

fn one(place: &Place, apt: &apt::PrivateApt, kernel: Kernel) -> Result<(), FetchError> {
    let packages = package::of_kernel(apt, kernel)?;
    let names: Vec<_> = packages.iter().map(|package| format!("{}={}", package.name, package.version)).collect();
    say(&format!("kernel {}: getting {}", kernel.series, names.join(" ")));
    let target = place.kernel(kernel);
    let work = target.with_extension("partial");
    for directory in [&work, &target] {
        if directory.exists() {
            fs::remove_dir_all(directory).map_err(FetchError::file("remove", directory))?;
        }
    }
    let (tree, ready) = (work.join("tree"), work.join("ready"));
    for directory in [&tree, &ready.join("modules")] {
        fs::create_dir_all(directory).map_err(FetchError::file("make", directory))?;
    }
    apt.download(&names, &work, &tree)?;
    let image = find(&tree, &|name| name.starts_with("vmlinuz"))?.ok_or(FetchError::NoImage(kernel.series))?;
    let vmlinuz = ready.join("vmlinuz");
    fs::copy(&image, &vmlinuz).map_err(FetchError::file("copy", &image))?;
    modules::extract(&tree, &MODULES, &ready.join("modules"), kernel)?;
    let complete = ready.join(COMPLETE);
    fs::write(&complete, names.join("\n")).map_err(FetchError::file("write", &complete))?;
    fs::rename(&ready, &target).map_err(FetchError::file("rename", &ready))?;
    fs::remove_dir_all(&work).map_err(FetchError::file("remove", &work))
}

/// The first regular file below `directory` whose name is `wanted`.
fn find(directory: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Option<PathBuf>, FetchError> {
    for entry in fs::read_dir(directory).map_err(FetchError::file("list", directory))? {
        let entry = entry.map_err(FetchError::file("list", directory))?;
        let kind = entry.file_type().map_err(FetchError::file("look at", &entry.path()))?;
        if kind.is_dir() {
            if let Some(found) = find(&entry.path(), wanted)? {
                return Ok(Some(found));
            }
        } else if kind.is_file() && wanted(&entry.file_name().to_string_lossy()) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
