//! The images that every node gets: `localhost/pause:1`, `localhost/coredns:1`, `localhost/trilobite-workloads:1`.

use std::path::PathBuf;

use crate::build::entry;
use crate::build::inputs::Inputs;
use crate::build::workloads::PROGRAMS;
use crate::cache::{Cache, workspace_root};
use crate::error::{Error, Result};
use crate::image::{Content, Image};

/// What Debian's static busybox is called as in the image.
const BUSYBOX: [&str; 39] = [
    "[", "awk", "base64", "cat", "chmod", "cp", "cut", "date", "dd", "echo", "env", "false", "grep", "head",
    "hostname", "httpd", "id", "kill", "ln", "ls", "mkdir", "mv", "nc", "nslookup", "ping", "printf", "ps", "rm",
    "sed", "seq", "sh", "sleep", "tail", "test", "timeout", "touch", "true", "wc", "wget",
];

pub(super) fn build(cache: &Cache) -> Result<()> {
    let workloads = cache.links().join("workloads");
    let file = |path: PathBuf| Content::File(path);

    let mut pause = Image::new("localhost/pause:1", &["/pause"]);
    pause.content.insert("pause".to_owned(), file(workloads.join("pause")));
    build_one(cache, "pause", &pause)?;

    let mut coredns = Image::new("localhost/coredns:1", &["/coredns"]);
    coredns.content.insert("coredns".to_owned(), file(cache.program("coredns")?));
    build_one(cache, "coredns", &coredns)?;

    let mut all = Image::new("localhost/trilobite-workloads:1", &["/bin/sh"]);
    for name in PROGRAMS {
        all.content.insert(format!("bin/{name}"), file(workloads.join(name)));
    }
    all.content.insert("bin/busybox".to_owned(), file(busybox()?));
    for name in BUSYBOX {
        all.content.insert(format!("bin/{name}"), Content::Link("busybox".to_owned()));
    }
    for name in ["passwd", "group", "nsswitch.conf"] {
        let source = workspace_root().join("e2e/workloads/etc").join(name);
        all.content.insert(format!("etc/{name}"), file(source));
    }
    build_one(cache, "trilobite-workloads", &all)
}

fn build_one(cache: &Cache, name: &str, image: &Image) -> Result<()> {
    let mut inputs = Inputs::default().word(&format!("{} {:?} {}", image.name, image.entrypoint, image.user));
    for (path, content) in &image.content {
        inputs = inputs.word(path);
        inputs = match content {
            Content::File(source) => inputs.file(source)?,
            Content::Link(target) => inputs.word(target),
        };
    }
    let archive = format!("images/{name}.tar");
    entry::build(cache, &archive, inputs, |path| image.write(path).map(|_| ())).map(|_| ())
}

fn busybox() -> Result<PathBuf> {
    let candidates = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
    candidates
        .into_iter()
        .find(|path| path.exists())
        .ok_or_else(|| Error::Missing("there is no busybox: apt-get install busybox-static".to_owned()))
}
