//! Programs, maps and links that this process holds, counted from its own descriptors: listing all of the machine's needs
//! CAP_SYS_ADMIN.

use std::{collections::BTreeSet, fs};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub programs: u64,
    pub maps: u64,
    pub links: u64,
    /// Bytes that the kernel charges for programs and maps.
    pub bytes: u64,
}

/// Two descriptors of one object count once.
pub fn account() -> Account {
    let mut seen = BTreeSet::new();
    let mut account = Account::default();
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return account };
    for entry in entries.flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        if !target.starts_with("anon_inode:bpf") {
            continue;
        }
        let path = format!("/proc/self/fdinfo/{}", entry.file_name().to_string_lossy());
        if let Ok(info) = fs::read_to_string(path) {
            count(&mut account, &mut seen, &target, &info);
        }
    }
    account
}

fn count(account: &mut Account, seen: &mut BTreeSet<(String, u64)>, target: &str, info: &str) {
    let kind = target.trim_start_matches("anon_inode:").trim_matches(|c| c == '[' || c == ']').replace('_', "-");
    let (id, counter) = match kind.as_str() {
        "bpf-prog" => ("prog_id", &mut account.programs),
        "bpf-map" => ("map_id", &mut account.maps),
        "bpf-link" => ("link_id", &mut account.links),
        _ => return,
    };
    let Some(id) = field(info, id) else { return };
    if seen.insert((kind, id)) {
        *counter += 1;
        account.bytes += field(info, "memlock").unwrap_or_default();
    }
}

fn field(info: &str, name: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_descriptors_count_once() {
        let mut account = Account::default();
        let mut seen = BTreeSet::new();
        let info = "pos:\t0\nmap_type:\t27\nmemlock:\t4096\nmap_id:\t7\n";
        count(&mut account, &mut seen, "anon_inode:bpf-map", info);
        count(&mut account, &mut seen, "anon_inode:bpf-map", info);
        count(&mut account, &mut seen, "anon_inode:bpf_link", "link_type:\ttracing\nlink_id:\t3\nprog_id:\t9\n");
        assert_eq!(account, Account { programs: 0, maps: 1, links: 1, bytes: 4096 });
    }
}
