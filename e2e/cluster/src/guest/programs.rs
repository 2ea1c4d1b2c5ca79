//! Programs of this machine that a guest runs, and the libraries that they are linked to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{find_program, output};
use crate::error::{Error, Result};

/// What a guest needs beyond the programs of any node, with the Debian package of each.
pub(crate) const TOOLS: [(&str, &str); 4] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("mke2fs", "e2fsprogs"),
    ("busybox", "busybox-static"),
    ("ldd", "libc-bin"),
];

/// Of a node, by their names: containerd's, kube-proxy's `nft`, and the `mount` of kubelet, which knows options that busybox
/// does not.
const PROGRAMS: [&str; 7] = ["containerd", "containerd-shim-runc-v2", "ctr", "mount", "nft", "runc", "umount"];

/// Of the CNI plugins those that the pods' network names.
const PLUGINS: [&str; 4] = ["host-local", "loopback", "portmap", "ptp"];

/// Every program and library, by its path on this machine.
pub(super) fn with_libraries(network_plugins: &Path) -> Result<BTreeSet<PathBuf>> {
    let named = PROGRAMS.iter().map(|name| existing(name));
    let plugins = PLUGINS.iter().map(|name| Ok(network_plugins.join(name)));
    let mut found = BTreeSet::new();
    for program in named.chain(plugins) {
        let program = program?;
        found.extend(libraries(&program)?);
        found.insert(program);
    }
    Ok(found)
}

pub(super) fn busybox() -> Result<PathBuf> {
    existing("busybox")
}

/// The names by which busybox is called.
pub(super) fn applets() -> Result<Vec<String>> {
    Ok(output(Command::new(busybox()?).arg("--list"))?.lines().map(str::to_owned).collect())
}

fn existing(name: &str) -> Result<PathBuf> {
    find_program(name).ok_or_else(|| Error::Missing(format!("{name} is not on this machine")))
}

fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    match output(Command::new("ldd").arg(program)) {
        Ok(text) => Ok(parse_libraries(&text)),
        Err(Error::Command { stderr, .. }) if stderr.contains("not a dynamic executable") => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// `libc.so.6 => /lib/libc.so.6 (0x...)` and `/lib64/ld-linux-x86-64.so.2 (0x...)`; the kernel's own vdso has no path.
fn parse_libraries(text: &str) -> Vec<PathBuf> {
    let paths = text.lines().filter_map(|line| {
        let (named, _) = line.trim().rsplit_once(" (0x")?;
        let path = named.rsplit_once(" => ").map_or(named, |(_, path)| path);
        path.starts_with('/').then(|| PathBuf::from(path))
    });
    paths.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found_and_the_vdso_is_not() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f3a)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f3b)\n";
        assert_eq!(
            parse_libraries(text),
            [PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6"), PathBuf::from("/lib64/ld-linux-x86-64.so.2")]
        );
        assert_eq!(parse_libraries("\tstatically linked\n"), Vec::<PathBuf>::new());
    }

    #[test]
    fn static_program_has_no_libraries() {
        assert_eq!(libraries(&busybox().unwrap()).unwrap(), Vec::<PathBuf>::new());
    }
}
