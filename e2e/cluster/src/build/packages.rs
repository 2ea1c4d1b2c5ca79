//! What an image holds of Debian's packages: downloaded with all that they depend on, and unpacked without being installed. No
//! script of a package runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::build::inputs::Inputs;
use crate::command::output;
use crate::error::{Error, Result};
use crate::files;
use crate::image::Content;

/// Parts of packages that no program reads at run time.
const LEFT_OUT: [&str; 7] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/share/i18n",
];

/// Packages of the Debian that the machine has.
pub(super) struct Packages {
    /// The packages that are wanted, and what these depend on.
    pub(super) names: &'static [&'static str],
    /// Packages that others depend on and an image does not need, by the beginning of their names.
    pub(super) without: &'static [&'static str],
}

/// The archives of the versions that apt would install now, and the folder that they are downloaded into.
pub(super) struct Archives<'a> {
    packages: &'a Packages,
    archives: Vec<Archive>,
    folder: TempDir,
}

/// One file of the archive of Debian.
struct Archive {
    address: String,
    /// `NAME_VERSION_ARCHITECTURE.deb`.
    file: String,
}

impl Packages {
    /// Asks apt for their versions.
    pub(super) fn find(&self) -> Result<Archives<'_>> {
        let folder = tempfile::tempdir().map_err(Error::file("make a folder in", &std::env::temp_dir()))?;
        let print = || output(apt(folder.path())?.args(["--print-uris", "--yes", "install"]).args(self.names));
        // Lists of packages are missing on a fresh machine, or name versions that are no longer there.
        let text =
            print().or_else(|_| output(Command::new("apt-get").args(["--quiet", "update"])).and_then(|_| print()))?;
        let wanted = |archive: &Archive| !self.without.iter().any(|name| archive.file.starts_with(name));
        let mut archives: Vec<Archive> = text.lines().filter_map(Archive::parse).filter(wanted).collect();
        archives.sort_by(|one, other| one.file.cmp(&other.file));
        Ok(Archives { packages: self, archives, folder })
    }
}

impl Archives<'_> {
    /// The key of what is made of them: their versions.
    pub(super) fn inputs(&self) -> Inputs {
        let words = self.packages.without.iter().copied().chain(self.archives.iter().map(|archive| &*archive.file));
        words.fold(Inputs::default(), |inputs, word| inputs.word(word))
    }

    /// What an image holds of them, downloaded and unpacked. The files are there as long as this is.
    pub(super) fn image_content(&self) -> Result<BTreeMap<String, Content>> {
        let tree = self.folder.path().join("tree");
        self.unpack(&tree)?;
        let mut content = BTreeMap::new();
        add_folder(&tree, &tree, &mut content)?;
        Ok(content)
    }

    /// Downloads them, and unpacks them into `tree`.
    pub(super) fn unpack(&self, tree: &Path) -> Result<()> {
        files::create_folder(tree)?;
        // apt checks their sums.
        output(apt(self.folder.path())?.args(["--download-only", "--yes", "install"]).args(self.packages.names))?;
        for archive in &self.archives {
            let path = self.folder.path().join("cache/archives").join(&archive.file);
            if !path.exists() {
                return Err(Error::Missing(format!("apt did not download {}", archive.address)));
            }
            output(Command::new("dpkg-deb").arg("-x").args([path.as_path(), tree]))?;
        }
        Ok(())
    }
}

impl Archive {
    /// A line of `apt-get --print-uris`: the address in quotes, the file, its size and its sum.
    fn parse(line: &str) -> Option<Self> {
        let (address, rest) = line.strip_prefix('\'')?.split_once('\'')?;
        let file = rest.split_whitespace().next()?;
        file.ends_with(".deb").then(|| Self { address: address.to_owned(), file: file.to_owned() })
    }
}

/// `apt-get` for a machine on which nothing is installed. The machine's own state is not changed.
fn apt(folder: &Path) -> Result<Command> {
    files::create_folder(&folder.join("cache/archives/partial"))?;
    let nothing_installed = folder.join("status");
    files::write(&nothing_installed, "")?;
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "--no-install-recommends"]);
    for option in [
        format!("Dir::State::status={}", nothing_installed.display()),
        format!("Dir::Cache={}", folder.join("cache").display()),
        "Debug::NoLocking=1".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ] {
        command.args(["--option", &option]);
    }
    Ok(command)
}

fn add_folder(root: &Path, folder: &Path, content: &mut BTreeMap<String, Content>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::file("read", folder))? {
        let path = entry.map_err(Error::file("read", folder))?.path();
        let inside = path.strip_prefix(root).unwrap_or(&path);
        if LEFT_OUT.iter().any(|left_out| inside == Path::new(left_out)) {
            continue;
        }
        let name = inside.to_string_lossy().into_owned();
        let found = fs::symlink_metadata(&path).map_err(Error::file("read", &path))?;
        if found.is_symlink() {
            let target = fs::read_link(&path).map_err(Error::file("read", &path))?;
            content.insert(name, Content::Link(target.to_string_lossy().into_owned()));
        } else if found.is_dir() {
            add_folder(root, &path, content)?;
        } else {
            content.insert(name, Content::File(path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_apt_names_address_and_file() {
        let line = "'http://deb.example/pool/main/r/redis/redis-tools_7.0.15-1%7edeb12u10_amd64.deb' \
                    redis-tools_5%3a7.0.15-1~deb12u10_amd64.deb 991988 SHA256:00";
        let archive = Archive::parse(line).unwrap();
        assert!(archive.address.starts_with("http://deb.example/pool/"));
        assert_eq!(archive.file, "redis-tools_5%3a7.0.15-1~deb12u10_amd64.deb");
        assert!(Archive::parse("Reading package lists...").is_none());
    }

    #[test]
    fn image_holds_files_and_links_without_documentation() {
        let root = tempfile::tempdir().unwrap();
        for file in ["usr/bin/server", "usr/share/doc/server/copyright", "etc/server.conf"] {
            files::write(&root.path().join(file), "x").unwrap();
        }
        std::os::unix::fs::symlink("server", root.path().join("usr/bin/other")).unwrap();
        let mut content = BTreeMap::new();
        add_folder(root.path(), root.path(), &mut content).unwrap();
        let names: Vec<&str> = content.keys().map(String::as_str).collect();
        assert_eq!(names, ["etc/server.conf", "usr/bin/other", "usr/bin/server"]);
        assert_eq!(content["usr/bin/other"], Content::Link("server".to_owned()));
    }
}
