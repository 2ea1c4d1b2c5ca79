//! A cgroup for a process that is measured, in cgroup v1 and v2: its CPU time and kernel memory. Its weight is the highest, so
//! that other processes of the machine take little of its time.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::waiting::poll;

const ROOT: &str = "/sys/fs/cgroup";

/// Moves itself into each cgroup before `--`, then becomes the rest of its arguments: the pid stays the same.
const ENTER: &str = r#"while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@""#;

/// The cgroups. Dropping it removes them, from the leaf up, as far as they are empty.
pub(crate) struct Cgroup {
    name: String,
    leaves: Vec<PathBuf>,
    memory: PathBuf,
    cpu: PathBuf,
}

impl Cgroup {
    /// Makes `name`, which may have several levels, in every hierarchy that is needed.
    pub(crate) fn make(name: &str) -> Result<Self> {
        let root = Path::new(ROOT);
        let (roots, memory, cpu) = if root.join("cgroup.controllers").exists() {
            (vec![root.to_owned()], root.to_owned(), root.to_owned())
        } else {
            let (memory, cpu) = (root.join("memory"), root.join("cpuacct"));
            (vec![memory.clone(), cpu.clone(), root.join("cpu"), root.join("unified")], memory, cpu)
        };
        let mut cgroup =
            Self { name: name.to_owned(), leaves: Vec::new(), memory: memory.join(name), cpu: cpu.join(name) };
        for root in roots.iter().filter(|root| root.is_dir()) {
            levels(root, name)?;
            cgroup.leaves.push(root.join(name));
        }
        Ok(cgroup)
    }

    /// A command that runs `program` in here.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", ENTER, "sh"]).args(&self.leaves).arg("--").arg(program);
        command
    }

    /// Kernel memory in bytes: maps, programs, stacks, page tables. None where the kernel does not count it.
    pub(crate) fn kernel_memory(&self) -> Option<u64> {
        let v1 = fs::read_to_string(self.memory.join("memory.kmem.usage_in_bytes"));
        if let Ok(text) = v1 {
            return text.trim().parse().ok();
        }
        let stat = fs::read_to_string(self.memory.join("memory.stat")).ok()?;
        stat.lines().find_map(|line| line.strip_prefix("kernel ")?.parse().ok())
    }

    /// Of it what each processor has for itself, in bytes. None where the kernel does not say: cgroup v1.
    pub(crate) fn per_cpu_memory(&self) -> Option<u64> {
        let stat = fs::read_to_string(self.memory.join("memory.stat")).ok()?;
        stat.lines().find_map(|line| line.strip_prefix("percpu ")?.parse().ok())
    }

    /// The processes in here.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.memory.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// CPU time so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        if let Ok(text) = fs::read_to_string(self.cpu.join("cpuacct.usage")) {
            return Ok(text.trim().parse::<u64>()? as f64 / 1e9);
        }
        let path = self.cpu.join("cpu.stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse::<u64>().ok());
        Ok(usage.with_context(|| format!("{} has no usage_usec", path.display()))? as f64 / 1e6)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for leaf in &self.leaves {
            // A process that was just killed leaves its cgroup a moment later.
            poll(Duration::from_secs(2), Duration::from_millis(10), || fs::remove_dir(leaf).is_ok() || !leaf.exists());
            // What lies above is shared with other cgroups of the bench: the last removes it.
            let levels = self.name.split('/').count();
            let _ = leaf.ancestors().skip(1).take(levels - 1).try_for_each(fs::remove_dir);
        }
    }
}

fn levels(root: &Path, name: &str) -> Result<()> {
    let mut folder = root.to_owned();
    for level in name.split('/') {
        let control = folder.join("cgroup.subtree_control");
        if control.exists() {
            // A controller that v1 has, or that the system keeps for itself, is not there to be had.
            let _ = fs::write(&control, "+memory");
            let _ = fs::write(&control, "+cpu");
        }
        folder.push(level);
        if !folder.exists() {
            fs::create_dir(&folder).with_context(|| format!("making the cgroup {}", folder.display()))?;
        }
        for (file, weight) in [("cpu.shares", "262144"), ("cpu.weight", "10000")] {
            let file = folder.join(file);
            if file.exists() {
                fs::write(&file, weight).with_context(|| format!("writing {}", file.display()))?;
            }
        }
    }
    Ok(())
}
