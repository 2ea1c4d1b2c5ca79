//! The images that every node gets: `localhost/pause:1`, `localhost/coredns:1`, `localhost/trilobite-workloads:1`. Tests of
//! requests import one more: `localhost/trilobite-servers:1`, the servers and clients that people have.

use std::path::PathBuf;

use crate::build::entry;
use crate::build::inputs::Inputs;
use crate::build::packages::Packages;
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

/// Real servers and two clients of each.
const SERVERS: Packages = Packages {
    names: &[
        "nginx-light",
        "postgresql-15",
        "postgresql-client-15",
        "redis-server",
        "redis-tools",
        "unbound",
        "bind9-dnsutils",
        "curl",
        "wrk",
        "openssl",
        "nodejs",
        "python3",
        "python3-psycopg2",
        "python3-redis",
        "python3-requests",
    ],
    // For scripts of packages and for compiled queries.
    without: &[
        "perl", "libperl", "debconf", "dpkg_", "tar_", "locales", "libllvm", "libz3", "passwd_", "iproute2", "openssl-",
    ],
};

/// Servers and their load generators, which the benchmark runs without a container.
const BENCHMARK_SERVERS: Packages =
    Packages { names: &["nginx-light", "redis-server", "redis-tools", "wrk"], without: SERVERS.without };

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
    add_system(&mut all)?;
    build_one(cache, "trilobite-workloads", &all)
}

/// The image of real servers. Its key is the versions of the packages, so that it is not unpacked again for the same ones.
pub(super) fn build_servers(cache: &Cache) -> Result<()> {
    let archives = SERVERS.find()?;
    let inputs = archives.inputs().file(&workspace_root().join("e2e/workloads/etc/passwd"))?;
    entry::build(cache, "images/trilobite-servers.tar", inputs, |archive| {
        let mut servers = Image::new("localhost/trilobite-servers:1", &["/bin/sh"]);
        servers.content = archives.image_content()?;
        add_system(&mut servers)?;
        servers.write(archive).map(|_| ())
    })
    .map(|_| ())
}

/// The folder of the benchmark's servers, unpacked as below the root of a file system.
pub(super) fn unpack_benchmark_servers(cache: &Cache) -> Result<PathBuf> {
    let archives = BENCHMARK_SERVERS.find()?;
    entry::build(cache, "benchmark-servers", archives.inputs(), |tree| archives.unpack(tree))
}

/// A shell, its programs, and the names of users.
fn add_system(image: &mut Image) -> Result<()> {
    image.content.insert("bin/busybox".to_owned(), Content::File(busybox()?));
    for name in BUSYBOX {
        let program = Content::Link("busybox".to_owned());
        image.content.entry(format!("bin/{name}")).or_insert(program);
    }
    for name in ["passwd", "group", "nsswitch.conf"] {
        let source = workspace_root().join("e2e/workloads/etc").join(name);
        image.content.insert(format!("etc/{name}"), Content::File(source));
    }
    Ok(())
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
