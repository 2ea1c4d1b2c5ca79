//! What the agent's cgroup is charged, as the kernel says.

use std::fs;

/// Bytes charged to a process's cgroup, kernel memory included, files in the page cache not: results stay on disk for an
/// hour, and the kernel takes their pages back by itself.
pub fn cgroup_memory(pid: u32) -> u64 {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = |controller: &str| {
        groups.lines().find_map(|line| {
            let mut words = line.splitn(3, ':').skip(1);
            (words.next()? == controller).then(|| words.next().unwrap_or_default().to_owned())
        })
    };
    let (folder, usage, cache) = match path("memory") {
        Some(v1) => (format!("/sys/fs/cgroup/memory{v1}"), "memory.usage_in_bytes", "cache"),
        None => (format!("/sys/fs/cgroup{}", path("").unwrap()), "memory.current", "file"),
    };
    let read = |name: &str| {
        let file = format!("{folder}/{name}");
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"))
    };
    let stat = read("memory.stat");
    let cached = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse::<u64>().ok()).unwrap_or_default();
    read(usage).trim().parse::<u64>().unwrap().saturating_sub(cached)
}
