//! The effective capabilities of this process.

use std::{collections::BTreeSet, fs};

use trilobite_crds::policy::value::CAPABILITY_NAMES;

/// Empty when /proc cannot be read.
pub fn effective() -> BTreeSet<String> {
    fs::read_to_string("/proc/self/status").map(|status| from_status(&status)).unwrap_or_default()
}

fn from_status(status: &str) -> BTreeSet<String> {
    let bits = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default();
    CAPABILITY_NAMES
        .iter()
        .enumerate()
        .filter(|(bit, _)| bits >> bit & 1 == 1)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_of_the_daemon_set_are_named() {
        let names = from_status("Name:\ttrilobite\nCapEff:\t000000c000081004\n");
        let expected = ["CAP_BPF", "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_SYS_PTRACE"];
        assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
    }
}
