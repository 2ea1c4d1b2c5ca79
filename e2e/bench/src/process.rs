//! What the kernel says about one process: its memory, its threads, and the BPF objects that it holds.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result};

/// Memory of one process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// All that is resident, in KiB.
    pub rss_kib: u64,
    /// What of it is backed by no file, in KiB.
    pub anonymous_kib: u64,
    /// Threads.
    pub threads: u64,
    /// What its BPF programs and maps are charged, in bytes.
    pub bpf_bytes: u64,
}

impl Memory {
    /// Of a process that lives.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let field = |name| number(&status, name).with_context(|| format!("{path} has no {name}"));
        Ok(Self {
            rss_kib: field("VmRSS")?,
            anonymous_kib: field("RssAnon")?,
            threads: field("Threads")?,
            bpf_bytes: bpf_bytes(pid),
        })
    }
}

/// CPU time of all threads of a process so far, in seconds. A thread that has ended is missing in it.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(&path).with_context(|| format!("reading {path}"))?.flatten();
    let spent = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    Ok(spent.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum::<u64>() as f64 / 1e9)
}

/// The agents that a kubelet started on this machine, whichever node of a test cluster they belong to.
pub(crate) fn agents_of_a_daemonset() -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
        is_agent(&read("cmdline"), &String::from_utf8_lossy(&read("cgroup")))
    })
    .collect()
}

/// The relays that a kubelet started on this machine.
pub(crate) fn relays() -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().starts_with(b"/trilobite-relay\0"))
        .collect()
}

/// The bench's own agents have a cgroup of that kind as well.
fn is_agent(command: &[u8], cgroup: &str) -> bool {
    let mut words = command.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    program.ends_with(b"trilobite-node")
        && words.next() == Some(b"agent")
        && cgroup.contains("kubepods")
        && !cgroup.contains("trilobite-bench")
}

fn bpf_bytes(pid: u32) -> u64 {
    let mut seen = BTreeSet::new();
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()).filter_map(|info| charge(&info, &mut seen)).sum()
}

/// Several descriptors of one object are charged once; a link names its program and is charged nothing.
fn charge(info: &str, seen: &mut BTreeSet<(bool, u64)>) -> Option<u64> {
    let bytes = number(info, "memlock")?;
    let id = match number(info, "map_id") {
        Some(id) => (true, id),
        None => (false, number(info, "prog_id")?),
    };
    seen.insert(id).then_some(bytes)
}

fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_with_two_descriptors_is_charged_once_and_a_link_nothing() {
        let mut seen = BTreeSet::new();
        let map = "pos:\t0\nmap_type:\t27\nmemlock:\t4096\nmap_id:\t7\n";
        let program = "prog_type:\t26\nmemlock:\t8192\nprog_id:\t7\n";
        let link = "link_type:\ttracing\nlink_id:\t3\nprog_id:\t9\n";
        let charged: Vec<_> = [map, map, program, link].iter().map(|info| charge(info, &mut seen)).collect();
        assert_eq!(charged, [Some(4096), None, Some(8192), None]);
    }

    #[test]
    fn agents_of_a_daemonset_are_told_from_those_of_the_bench() {
        let pod = "0::/node1/kubepods.slice/kubepods-burstable.slice/cri-0a.scope";
        assert!(is_agent(b"/trilobite-node\0agent\0", pod));
        assert!(!is_agent(b"/trilobite-node\0proxy\0", pod));
        assert!(!is_agent(b"/trilobite-node\0agent\0", "0::/trilobite-bench-node/kubepods/burstable/pod1/a"));
        assert!(!is_agent(b"/bin/cat\0agent\0", pod));
    }

    #[test]
    fn work_of_this_process_is_cpu_time() {
        let before = cpu_seconds(std::process::id()).unwrap();
        let from = std::time::Instant::now();
        while from.elapsed() < std::time::Duration::from_millis(50) {
            std::hint::black_box(from);
        }
        let spent = cpu_seconds(std::process::id()).unwrap() - before;
        assert!(spent > 0.005, "{spent}");
    }

    #[test]
    fn this_process_has_memory_and_a_thread() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.rss_kib > memory.anonymous_kib && memory.threads > 0, "{memory:?}");
    }
}
