//! The machine that the numbers were made on.

use std::fs;

/// What a reader must know to compare a number with his own.
pub(crate) struct Machine {
    /// The CPU as it names itself.
    pub cpu: String,
    /// CPUs that are online.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// What else was running: load averages at the start.
    pub load: String,
}

impl Machine {
    /// Looks.
    pub(crate) fn here() -> Self {
        let cpuinfo = text("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let total = text("/proc/meminfo")
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        Self {
            cpu: model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: total.unwrap_or_default() / 1024,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: text("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
        }
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        format!("{}, {} cores, {} MiB, Linux {}", self.cpu, self.cores, self.memory_mib, self.kernel)
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
