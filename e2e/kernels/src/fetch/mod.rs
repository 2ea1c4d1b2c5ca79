//! Gets each kernel's image and modules from Debian's packages into the cache, once. Nothing of the machine's apt changes.

mod apt;
mod error;
mod find;
mod mirror;
mod modules;
mod package;

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::{
    console::say,
    kernels::{Kernel, Purpose},
    paths::Paths,
};

pub(crate) use error::FetchError;
use find::find;

/// The file that is written last: with it, a kernel's directory is complete.
const COMPLETE: &str = "packages";

/// Whether a kernel's image and modules are in the cache.
pub(crate) fn is_cached(paths: &Paths, kernel: Kernel, purpose: Purpose) -> bool {
    paths.kernel(kernel, purpose).join(COMPLETE).is_file()
}

/// Makes sure that all of `kernels` are in the cache; `again` asks the archive even for those that are.
pub(crate) fn fetch(paths: &Paths, kernels: &[Kernel], purpose: Purpose, again: bool) -> Result<(), FetchError> {
    let _lock = lock(&paths.lock())?;
    let (cached, missing): (Vec<Kernel>, Vec<Kernel>) =
        kernels.iter().partition(|kernel| !again && is_cached(paths, **kernel, purpose));
    for kernel in cached {
        let packages = paths.kernel(kernel, purpose).join(COMPLETE);
        let names = fs::read_to_string(&packages).map_err(FetchError::file("read", &packages))?;
        say(&format!("kernel {}: in the cache ({})", kernel.series, names.lines().next().unwrap_or_default()));
        link(paths, kernel, purpose)?;
    }
    if missing.is_empty() {
        return Ok(());
    }
    say("reading Debian's package lists");
    let apt = apt::PrivateApt::new(paths.apt(), &missing)?;
    missing.into_iter().try_for_each(|kernel| {
        fetch_one(paths, &apt, kernel, purpose)?;
        link(paths, kernel, purpose)
    })
}

/// Shows a node's kernel to the test cluster.
fn link(paths: &Paths, kernel: Kernel, purpose: Purpose) -> Result<(), FetchError> {
    if purpose == Purpose::Tests {
        return Ok(());
    }
    let (target, link) = (paths.kernel(kernel, purpose), Paths::node_kernel_link(kernel));
    let make = || {
        fs::create_dir_all(link.parent().unwrap_or(&link))?;
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link)?;
        }
        symlink(&target, &link)
    };
    make().map_err(FetchError::file("link", &link))
}

/// One clone at a time.
fn lock(path: &Path) -> Result<File, FetchError> {
    let open = || {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        let file = File::create(path)?;
        file.lock()?;
        Ok(file)
    };
    open().map_err(FetchError::file("lock", path))
}

fn fetch_one(paths: &Paths, apt: &apt::PrivateApt, kernel: Kernel, purpose: Purpose) -> Result<(), FetchError> {
    let packages = package::of_kernel(apt, kernel)?;
    let names: Vec<_> = packages.iter().map(|package| format!("{}={}", package.name, package.version)).collect();
    say(&format!("kernel {}: getting {}", kernel.series, names.join(" ")));
    let target = paths.kernel(kernel, purpose);
    let work = PathBuf::from(format!("{}.partial", target.display()));
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
    modules::extract(&tree, purpose.modules(), &ready.join("modules"), kernel)?;
    let complete = ready.join(COMPLETE);
    fs::write(&complete, names.join("\n")).map_err(FetchError::file("write", &complete))?;
    fs::rename(&ready, &target).map_err(FetchError::file("rename", &ready))?;
    fs::remove_dir_all(&work).map_err(FetchError::file("remove", &work))
}
