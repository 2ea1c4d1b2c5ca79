//! What the agent's cgroup is charged, as the kernel says, and what is in the memory of a process.

use std::{
    fs::{self, File},
    ops::Range,
    os::unix::fs::FileExt,
};

use memchr::memmem;

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

/// Parts of a process's writable memory that contain one of these texts: what a core dump of it would show.
pub fn memory_with(pid: u32, texts: &[&str]) -> Vec<String> {
    // A process that ended meanwhile has no memory.
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else { return Vec::new() };
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw"))) {
        let (begin, end) = line.split(' ').next().and_then(|range| range.split_once('-')).unwrap();
        let address = |text| u64::from_str_radix(text, 16).unwrap();
        found.extend(find_in(&memory, address(begin)..address(end), texts).map(|near| format!("{line}: {near}")));
    }
    found
}

/// The first of these texts in a range of a file, with what is beside it.
fn find_in(memory: &File, range: Range<u64>, texts: &[&str]) -> Option<String> {
    const PIECE: u64 = 1 << 20;
    let overlap = texts.iter().map(|text| text.len() as u64).max()?;
    for begin in range.clone().step_by(PIECE as usize) {
        let mut bytes = vec![0; (range.end - begin).min(PIECE + overlap) as usize];
        // Pages of a device cannot be read.
        let Ok(read) = memory.read_at(&mut bytes, begin) else { continue };
        bytes.truncate(read);
        for text in texts.iter().map(|text| text.as_bytes()) {
            let Some(at) = memmem::find(&bytes, text) else { continue };
            let near = &bytes[at.saturating_sub(40)..bytes.len().min(at + text.len() + 40)];
            return Some(format!("{:?}", String::from_utf8_lossy(near)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn text_in_own_memory_is_found() {
        let word = black_box("sea-cucumber-".to_owned() + &std::process::id().to_string());
        let pid = std::process::id();
        assert!(memory_with(pid, &["absent", &word]).iter().any(|near| near.contains(&word)));
    }
}
