//! Writes a container image as an archive that `ctr images import` reads: one layer, the same bytes for the same input.
//! No registry, no builder, no base image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::files;

const FOLDERS: [(&str, u32); 4] = [("etc", 0o755), ("proc", 0o755), ("sys", 0o755), ("tmp", 0o1777)];

/// What an image holds at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A copy of this file, with its permissions.
    File(PathBuf),
    /// A symbolic link to this path.
    Link(String),
}

/// An image: static programs, links to them, and what runs first.
#[derive(Debug, Clone)]
pub struct Image {
    /// `name:tag`.
    pub name: String,
    /// The command of a container that names none.
    pub entrypoint: Vec<String>,
    /// The user it runs as, `0` when empty.
    pub user: String,
    /// What is at each path; paths are relative to the root.
    pub content: BTreeMap<String, Content>,
}

impl Image {
    /// An image with nothing in it.
    #[must_use]
    pub fn new(name: &str, entrypoint: &[&str]) -> Self {
        let entrypoint = entrypoint.iter().map(ToString::to_string).collect();
        Self { name: name.to_owned(), entrypoint, user: String::new(), content: BTreeMap::new() }
    }

    /// Adds `source=path`, or `@target=path` for a link.
    pub fn add(&mut self, word: &str) -> Result<()> {
        let Some((source, path)) = word.rsplit_once('=').filter(|(s, p)| !s.is_empty() && !p.is_empty()) else {
            return Err(Error::Refused(format!("`{word}` is neither source=path nor @target=path")));
        };
        let content = match source.strip_prefix('@') {
            Some(target) => Content::Link(target.to_owned()),
            None => Content::File(PathBuf::from(source)),
        };
        self.content.insert(path.trim_start_matches('/').to_owned(), content);
        Ok(())
    }

    /// Writes the archive and gives the digest of its configuration, which is the image's id.
    pub fn write(&self, archive: &Path) -> Result<String> {
        let layer = self.layer()?;
        let layer_digest = sha256(&layer);
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": self.entrypoint,
                "Env": ["PATH=/usr/bin:/bin"],
                "User": self.user,
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
        })
        .to_string();
        let id = sha256(config.as_bytes());
        let manifest = json!([{
            "Config": format!("{id}.json"),
            "RepoTags": [self.name],
            "Layers": [format!("{layer_digest}.tar")],
        }]);

        let mut out = tar::Builder::new(Vec::new());
        let write = |out: &mut tar::Builder<Vec<u8>>, name: String, bytes: &[u8]| {
            let mut header = header(tar::EntryType::Regular, 0o644);
            header.set_size(bytes.len() as u64);
            out.append_data(&mut header, name, bytes).map_err(Error::file("write", archive))
        };
        write(&mut out, format!("{layer_digest}.tar"), &layer)?;
        write(&mut out, format!("{id}.json"), config.as_bytes())?;
        write(&mut out, "manifest.json".to_owned(), manifest.to_string().as_bytes())?;
        let bytes = out.into_inner().map_err(Error::file("write", archive))?;
        files::write(archive, bytes)?;
        Ok(format!("sha256:{id}"))
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut out = tar::Builder::new(Vec::new());
        let failed = |path: &str| Error::file("put into the image", Path::new(path));
        for (folder, mode) in self.folders() {
            out.append_data(&mut header(tar::EntryType::Directory, mode), format!("{folder}/"), std::io::empty())
                .map_err(failed(&folder))?;
        }
        for (path, content) in &self.content {
            match content {
                Content::File(source) => {
                    let bytes = files::read_bytes(source)?;
                    let found = fs::metadata(source).map_err(Error::file("read", source))?;
                    // Only whether it can be run is taken over: the rest differs with the umask of who built it.
                    let mode = if found.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
                    let mut header = header(tar::EntryType::Regular, mode);
                    header.set_size(bytes.len() as u64);
                    out.append_data(&mut header, path, bytes.as_slice()).map_err(failed(path))?;
                }
                Content::Link(target) => {
                    out.append_link(&mut header(tar::EntryType::Symlink, 0o777), path, target).map_err(failed(path))?;
                }
            }
        }
        out.into_inner().map_err(failed(&self.name))
    }

    fn folders(&self) -> BTreeMap<String, u32> {
        let above: BTreeSet<String> = self
            .content
            .keys()
            .flat_map(|path| Path::new(path).ancestors().skip(1))
            .map(|folder| folder.display().to_string())
            .filter(|folder| !folder.is_empty())
            .collect();
        let above = above.into_iter().map(|folder| (folder, 0o755));
        above.chain(FOLDERS.map(|(folder, mode)| (folder.to_owned(), mode))).collect()
    }
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(folder: &Path) -> Image {
        let program = folder.join("program");
        fs::write(&program, "#!/bin/true\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o750)).unwrap();
        let mut image = Image::new("localhost/test:1", &["/bin/program"]);
        image.add(&format!("{}=bin/program", program.display())).unwrap();
        image.add("@program=bin/other").unwrap();
        image
    }

    #[test]
    fn the_same_input_gives_the_same_bytes_at_any_time_and_place() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let one = image(first.path()).write(&first.path().join("a.tar")).unwrap();
        let two = image(second.path()).write(&second.path().join("b.tar")).unwrap();
        assert_eq!(one, two);
        assert_eq!(fs::read(first.path().join("a.tar")).unwrap(), fs::read(second.path().join("b.tar")).unwrap());
    }

    #[test]
    fn the_names_in_the_archive_are_the_digests_of_what_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        image(folder.path()).write(&folder.path().join("a.tar")).unwrap();
        let mut archive = tar::Archive::new(fs::File::open(folder.path().join("a.tar")).unwrap());
        let mut held = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            held.insert(entry.path().unwrap().display().to_string(), bytes);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&held["manifest.json"]).unwrap();
        let layer = manifest[0]["Layers"][0].as_str().unwrap();
        assert_eq!(layer, format!("{}.tar", sha256(&held[layer])));
        let config: serde_json::Value = serde_json::from_slice(&held[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&held[layer])));
        assert_eq!(manifest[0]["RepoTags"][0], "localhost/test:1");
    }

    #[test]
    fn programs_stay_programs_and_folders_come_before_what_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let layer = image(folder.path()).layer().unwrap();
        let mut archive = tar::Archive::new(layer.as_slice());
        let entries: Vec<(String, u32)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap())
            })
            .collect();
        let at = |path: &str| entries.iter().position(|(p, _)| p == path).unwrap();
        assert!(at("bin/") < at("bin/program"));
        assert_eq!(entries[at("bin/program")].1, 0o755);
        assert_eq!(entries[at("tmp/")].1, 0o1777);
    }

    #[test]
    fn a_word_without_a_path_is_refused() {
        assert!(Image::new("a:1", &[]).add("/bin/busybox").is_err());
    }
}
