//! The file system that a kernel boots into: busybox, the agent, the launcher, our init, the tests. Runs nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use trilobite_cluster::Cpio;

use crate::{
    kernels::{Kernel, Purpose},
    paths::Paths,
    scripts::Script,
};

/// What the DaemonSet asks for: the agent runs with these, and with nothing else.
pub(crate) const CAPABILITIES: &str = "BPF,PERFMON,NET_ADMIN,SYS_PTRACE,DAC_READ_SEARCH,SYSLOG";

const DIRECTORIES: [&str; 12] =
    ["bin", "dev", "etc", "init.d", "modules", "proc", "run", "smoke", "sys", "tests", "tmp", "var"];

/// Programs of the machine and of this build that go into every kernel's file system.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) busybox: PathBuf,
    pub(crate) launcher: PathBuf,
    /// `process-variants`.
    pub(crate) variants: PathBuf,
    /// None when only the harness tests itself. The worker is beside it.
    pub(crate) agent: Option<PathBuf>,
}

/// A file that is missing or cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitramfsError {
    #[error("{doing} {}: {error}", path.display())]
    File { doing: &'static str, path: PathBuf, error: io::Error },
    #[error("{} needs a dynamic loader, which the initramfs does not have: {hint}", path.display())]
    NotStatic { path: PathBuf, hint: &'static str },
}

/// The archive for `kernel`, not compressed: an emulated processor takes longer to unpack it than we to pack it. Scripts keep their names: init runs `/tests/*.sh` in order.
pub(crate) fn build(
    paths: &Paths,
    kernel: Kernel,
    programs: &Programs,
    scripts: &[Script],
) -> Result<Vec<u8>, InitramfsError> {
    let mut cpio = Cpio::default();
    DIRECTORIES.iter().for_each(|directory| cpio.directory(directory));
    cpio.character_device("dev/console", (5, 1));
    cpio.file("bin/busybox", 0o755, &program(&programs.busybox, "install the Debian package busybox-static")?);
    cpio.symlink("bin/sh", "busybox");
    cpio.file("bin/with-capabilities", 0o755, &program(&programs.launcher, "build it in this workspace")?);
    cpio.file("bin/process-variants", 0o755, &program(&programs.variants, "build it in this workspace")?);
    if let Some(agent) = &programs.agent {
        cpio.file("bin/trilobite-node", 0o755, &program(agent, "build it in this workspace")?);
        // The agent starts the worker that lies beside it.
        let worker = agent.with_file_name("trilobite-worker");
        cpio.file("bin/trilobite-worker", 0o755, &program(&worker, "build it in this workspace")?);
    }
    cpio.file("etc/capabilities", 0o644, CAPABILITIES.as_bytes());
    add_all(&mut cpio, &paths.scripts("init"), "init.d")?;
    cpio.symlink("init", "init.d/init.sh");
    add_all(&mut cpio, &paths.kernel(kernel, Purpose::Tests).join("modules"), "modules")?;
    add_all(&mut cpio, &paths.scripts("smoke"), "smoke")?;
    for script in scripts {
        cpio.file(&format!("tests/{}", script.file), 0o755, script.text.as_bytes());
    }
    Ok(cpio.finish())
}

fn add_all(cpio: &mut Cpio, from: &Path, to: &str) -> Result<(), InitramfsError> {
    let failed = |error| InitramfsError::File { doing: "list", path: from.to_owned(), error };
    let entries = fs::read_dir(from).map_err(failed)?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.sort();
    for path in paths.iter().filter(|path| path.is_file()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        cpio.file(&format!("{to}/{name}"), 0o755, &read(path)?);
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, InitramfsError> {
    fs::read(path).map_err(|error| InitramfsError::File { doing: "read", path: path.to_owned(), error })
}

fn program(path: &Path, hint: &'static str) -> Result<Vec<u8>, InitramfsError> {
    let bytes = read(path)?;
    match needs_a_loader(&bytes) {
        true => Err(InitramfsError::NotStatic { path: path.to_owned(), hint }),
        false => Ok(bytes),
    }
}

/// A dynamic program has a PT_INTERP header (type 3); a static-pie has none.
fn needs_a_loader(elf: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        let bytes = elf.get(at..at + size).unwrap_or_default();
        bytes.iter().rev().fold(0_usize, |value, byte| value << 8 | usize::from(*byte))
    };
    let (start, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    elf.starts_with(b"\x7fELF") && (0..count).any(|header| number(start.saturating_add(header * size), 4) == 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_runs_here_with_what_the_daemonset_asks_for() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../operator/src/controllers/stack/build/daemon_set.rs");
        let source = fs::read_to_string(path).unwrap();
        let list = source.split("const CAPABILITIES").nth(1).unwrap().split("];").next().unwrap();
        let mut request: Vec<&str> =
            list.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\",")).collect();
        let mut ours: Vec<&str> = CAPABILITIES.split(',').collect();
        request.sort_unstable();
        ours.sort_unstable();
        assert_eq!(ours, request);
    }

    #[test]
    fn a_program_with_a_dynamic_loader_is_told_from_a_static_one() {
        let mut elf = b"\x7fELF".to_vec();
        elf.resize(64 + 2 * 56, 0);
        (elf[32], elf[54], elf[56]) = (64, 56, 2);
        assert!(!needs_a_loader(&elf));
        elf[64 + 56] = 3;
        assert!(needs_a_loader(&elf));
    }
}
