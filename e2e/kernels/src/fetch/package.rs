//! Follows the archive's own meta package to the packages that hold a kernel: their names change with every update.

use super::{apt::PrivateApt, error::FetchError};
use crate::kernels::Kernel;

/// The cloud flavour: the same configuration for BPF, without the drivers of real machines.
const META: &str = "linux-image-cloud-amd64";

/// One package at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    depends: Vec<(String, String)>,
}

/// The packages with `kernel`'s image and modules: one up to 6.12, several since.
pub(crate) fn of_kernel(apt: &PrivateApt, kernel: Kernel) -> Result<Vec<Package>, FetchError> {
    let Kernel { series, suite, .. } = kernel;
    let prefix = format!("{series}.");
    let meta = stanzas(&apt.show(META)?)
        .into_iter()
        .find(|package| package.version.starts_with(&prefix))
        .ok_or(FetchError::NoSuchKernel { series, suite })?;
    let mut found: Vec<Package> = Vec::new();
    let mut wanted = meta.depends;
    while let Some((name, version)) = wanted.pop() {
        if found.iter().any(|package| package.name == name) {
            continue;
        }
        let exact = |package: &Package| package.version == version;
        let package = stanzas(&apt.show(&name)?).into_iter().find(exact).ok_or(FetchError::NoSuchPackage(name))?;
        wanted.extend(package.depends.iter().cloned());
        found.push(package);
    }
    Ok(found)
}

/// Packages of `apt-cache show`, with only those dependencies that hold parts of a kernel of exactly one version.
fn stanzas(text: &str) -> Vec<Package> {
    let package = |stanza: &str| {
        let field = |key: &str| stanza.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        let depends = field("Depends").unwrap_or("").split(", ").filter_map(part_of_a_kernel).collect();
        Some(Package { name: field("Package")?.to_owned(), version: field("Version")?.to_owned(), depends })
    };
    text.split("\n\n").filter_map(package).collect()
}

fn part_of_a_kernel(dependency: &str) -> Option<(String, String)> {
    let (name, version) = dependency.trim().split_once(" (= ")?;
    let holds = ["linux-image-", "linux-binary-", "linux-modules-"].iter().any(|prefix| name.starts_with(prefix));
    holds.then(|| (name.to_owned(), version.trim_end_matches(')').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_parts_of_a_kernel_are_followed() {
        let read = stanzas(
            "Package: linux-image-7.2-cloud\nVersion: 7.2.12-1\nDepends: dracut | initramfs-tools (>= 0.120), \
             linux-base-7.2 (= 7.2.12-1), linux-binary-7.2 (= 7.2.12-1), linux-modules-7.2 (= 7.2.12-1)\n\n\
             Package: linux-image-6.1-cloud\nVersion: 6.1.176-1\nDepends: kmod\n",
        );
        let exact = |name: &str| (name.to_owned(), "7.2.12-1".to_owned());
        assert_eq!(read[0].depends, [exact("linux-binary-7.2"), exact("linux-modules-7.2")]);
        assert_eq!((read[1].version.as_str(), read[1].depends.len()), ("6.1.176-1", 0));
    }
}
