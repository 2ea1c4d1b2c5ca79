//! What a guest's kernel boots into: busybox and the modules, which bring the disk.

use std::path::{Path, PathBuf};

use crate::cpio::Cpio;
use crate::error::{Error, Result};
use crate::files;
use crate::guest::programs;

const INIT: &str = include_str!("../../guest/init.sh");

/// What `init.sh` calls.
const APPLETS: [&str; 5] = ["insmod", "mount", "poweroff", "sh", "switch_root"];

/// The archive for the kernel in this folder, whose modules are numbered in the order of loading.
pub(super) fn build(kernel: &Path) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    ["bin", "dev", "disk", "modules"].iter().for_each(|folder| cpio.directory(folder));
    cpio.character_device("dev/console", (5, 1));
    cpio.file("bin/busybox", 0o755, &files::read_bytes(&programs::busybox()?)?);
    APPLETS.iter().for_each(|applet| cpio.symlink(&format!("bin/{applet}"), "busybox"));
    cpio.file("init", 0o755, INIT.as_bytes());
    for module in modules(&kernel.join("modules"))? {
        let name = module.file_name().unwrap_or_default().display().to_string();
        cpio.file(&format!("modules/{name}"), 0o644, &files::read_bytes(&module)?);
    }
    Ok(cpio.finish())
}

fn modules(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(Error::file("list", folder))?;
    let mut modules: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    modules.sort();
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_calls_no_program_that_is_not_there() {
        let commands = INIT.lines().filter(|line| !line.starts_with('#')).flat_map(|line| line.split("||"));
        let called = commands.filter_map(|command| command.split_whitespace().find(|word| *word != "exec"));
        for word in called {
            assert!(APPLETS.contains(&word) || ["for", "echo", "done"].contains(&word), "{word}");
        }
    }

    #[test]
    fn modules_come_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["02-ext4.ko", "00-crc16.ko", "10-veth.ko", "01-mbcache.ko"] {
            files::write(&folder.path().join(name), "").unwrap();
        }
        let names: Vec<String> = modules(folder.path())
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["00-crc16.ko", "01-mbcache.ko", "02-ext4.ko", "10-veth.ko"]);
    }
}
