//! The disk of a guest: an ext4 file system that is filled from a folder, with every file at the path that it has here.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::addresses::NodeNumber;
use crate::command::output;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::files;
use crate::guest::{programs, scripts};
use crate::progress::step;
use crate::state::State;

/// The file takes only as much as is written.
const SIZE: &str = "6G";

/// As on Debian: `/bin` and `/usr/bin` are one.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Mount points and folders of the first processes.
const FOLDERS: [&str; 9] = ["dev", "etc/node", "images", "proc", "root", "run", "sys", "tmp", "var/log"];

/// Who there is, and no other name server than kubelet's.
const ETC: [(&str, &str); 5] = [
    ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("group", "root:x:0:\n"),
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("resolv.conf", ""),
    ("machine-id", "7472696c6f6269746520677565737401\n"),
];

/// What a guest's disk is made of, beside the programs of this machine.
pub(crate) struct Content<'a> {
    /// What init keeps running.
    pub daemons: &'a [Daemon],
    /// Configuration files and folders of the node.
    pub configuration: Vec<PathBuf>,
    /// Archives that containerd imports before kubelet starts.
    pub images: Vec<PathBuf>,
    /// The folder of the CNI plugins.
    pub network_plugins: PathBuf,
}

/// Writes the disk of a node.
pub(super) fn create(state: &State, node: NodeNumber, content: &Content<'_>, disk: &Path) -> Result<()> {
    let tree = disk.with_extension("tree");
    files::remove(&tree)?;
    step(&format!("{} has a disk", node.name()), || {
        let root = Root(tree.clone());
        root.fill(state, node, content)?;
        let partial = disk.with_extension("partial");
        files::remove(&partial)?;
        let mut make = Command::new("mke2fs");
        make.args(["-q", "-F", "-t", "ext4", "-d"]).arg(&tree).arg(&partial).arg(SIZE);
        output(&mut make)?;
        std::fs::rename(&partial, disk).map_err(Error::file("rename", &partial))
    })?;
    files::remove(&tree)
}

/// The folder that becomes the root of a disk.
struct Root(PathBuf);

impl Root {
    fn fill(&self, state: &State, node: NodeNumber, content: &Content<'_>) -> Result<()> {
        for name in MERGED {
            files::create_folder(&self.0.join("usr").join(name))?;
            self.link(&format!("usr/{name}"), name)?;
        }
        FOLDERS.iter().try_for_each(|folder| files::create_folder(&self.0.join(folder)))?;
        ETC.iter().try_for_each(|(name, text)| files::write(&self.0.join("etc").join(name), text))?;
        for path in programs::with_libraries(&content.network_plugins)? {
            self.copy(&path)?;
        }
        self.copy_built(content.daemons.iter().map(|daemon| daemon.program.as_path()))?;
        content.configuration.iter().try_for_each(|path| self.copy(path))?;
        for archive in &content.images {
            let name = archive.file_name().unwrap_or_default();
            copy_file(archive, &self.0.join("images").join(name))?;
        }
        let folder = state.node_folder(node);
        for own in ["run", "pod-addresses"] {
            files::create_folder(&self.at(&folder.join(own)))?;
        }
        self.add_busybox()?;
        self.add_scripts(node, &folder, &state.containerd_socket(node), content)
    }

    /// Copies programs that are not Debian's; names of the same program stay one file.
    fn copy_built<'a>(&self, programs: impl Iterator<Item = &'a Path>) -> Result<()> {
        let mut copied: Vec<(PathBuf, PathBuf)> = Vec::new();
        for program in programs.filter(|program| program.is_absolute()) {
            let source = program.canonicalize().map_err(Error::file("find", program))?;
            let target = self.at(program);
            match copied.iter().find(|(there, _)| *there == source) {
                Some((_, first)) => std::fs::hard_link(first, &target).map_err(Error::file("link", &target))?,
                None => copy_file(&source, &target)?,
            }
            copied.push((source, target));
        }
        Ok(())
    }

    fn add_scripts(&self, node: NodeNumber, folder: &Path, socket: &Path, content: &Content<'_>) -> Result<()> {
        files::write(&self.0.join("etc/inittab"), scripts::INITTAB)?;
        let settings = scripts::settings(node, folder, socket);
        let fixed = scripts::SCRIPTS.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let daemons = content.daemons.iter().map(|each| (format!("{}.sh", each.name), scripts::daemon(node, each)));
        for (name, text) in fixed.chain(daemons).chain([("settings.sh".to_owned(), settings)]) {
            let path = self.0.join("etc/node").join(name);
            files::write(&path, text)?;
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).map_err(Error::file("change", &path))?;
        }
        Ok(())
    }

    /// Busybox answers to every name that no program of its own has.
    fn add_busybox(&self) -> Result<()> {
        copy_file(&programs::busybox()?, &self.0.join("usr/bin/busybox"))?;
        for name in programs::applets()? {
            let taken = ["usr/bin", "usr/sbin"].iter().any(|folder| self.0.join(folder).join(&name).exists());
            if !taken {
                self.link("busybox", &format!("usr/bin/{name}"))?;
            }
        }
        self.link("../bin/busybox", "usr/sbin/init")?;
        self.link("/proc/mounts", "etc/mtab")
    }

    /// Copies a file, or a folder with its files, to the path that it has on this machine.
    fn copy(&self, path: &Path) -> Result<()> {
        if !path.is_dir() {
            return copy_file(path, &self.at(path));
        }
        let entries = std::fs::read_dir(path).map_err(Error::file("list", path))?;
        entries.flatten().map(|entry| entry.path()).try_for_each(|path| self.copy(&path))
    }

    fn link(&self, target: &str, path: &str) -> Result<()> {
        let path = self.0.join(path);
        symlink(target, &path).map_err(Error::file("link", &path))
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        files::create_folder(folder)?;
    }
    std::fs::copy(from, to).map(|_| ()).map_err(Error::file("copy", from))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn files_are_where_they_are_on_this_machine() {
        let here = tempfile::tempdir().unwrap();
        let root = Root(here.path().join("tree"));
        let folder = here.path().join("cni");
        files::write(&folder.join("10-pods.conflist"), "pods").unwrap();
        root.copy(&folder).unwrap();
        assert_eq!(files::read(&root.at(&folder).join("10-pods.conflist")).unwrap(), "pods");
    }

    #[test]
    fn names_of_one_program_are_one_file() {
        let here = tempfile::tempdir().unwrap();
        let program = here.path().join("kube");
        files::write(&program, "kube").unwrap();
        let names = ["kubelet", "kube-proxy"].map(|name| here.path().join(name));
        names.iter().for_each(|name| symlink(&program, name).unwrap());
        let root = Root(here.path().join("tree"));
        root.copy_built(names.iter().map(PathBuf::as_path)).unwrap();
        let inodes = names.map(|name| std::fs::symlink_metadata(root.at(&name)).unwrap().ino());
        assert_eq!(inodes[0], inodes[1]);
    }

    #[test]
    fn busybox_takes_no_name_of_another_program() {
        let here = tempfile::tempdir().unwrap();
        let root = Root(here.path().to_owned());
        for folder in ["usr/bin", "usr/sbin", "etc"] {
            files::create_folder(&here.path().join(folder)).unwrap();
        }
        files::write(&here.path().join("usr/bin/mount"), "its own").unwrap();
        root.add_busybox().unwrap();
        assert_eq!(files::read(&here.path().join("usr/bin/mount")).unwrap(), "its own");
        assert_eq!(std::fs::read_link(here.path().join("usr/bin/sh")).unwrap(), Path::new("busybox"));
    }
}
