//! Why the kernel refuses a perf event: `perf_event_open` has a permission check of its own, kernel.perf_event_paranoid.

use std::{fs, io};

use crate::problem::Problem;

/// Upstream's strictest level. Debian and Ubuntu patch in higher ones, which ask for CAP_SYS_ADMIN.
const UPSTREAM_MAX_LEVEL: i32 = 2;

/// `kernel.perf_event_paranoid`; 2, upstream's default, when it cannot be read.
pub fn paranoid() -> i32 {
    fs::read_to_string("/proc/sys/kernel/perf_event_paranoid")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(2)
}

/// Why an event is refused at this level.
pub fn refusal(level: i32) -> Problem {
    if level > UPSTREAM_MAX_LEVEL {
        return Problem::PerfParanoid { level };
    }
    Problem::LoadFailed {
        what: "opening a perf event".into(),
        detail: format!("forbidden though kernel.perf_event_paranoid is {level}, by seccomp or a security module"),
    }
}

/// The problem for a refused `perf_event_open`, by its errno.
pub(super) fn refused(errno: i32) -> Problem {
    if is_refusal(errno) {
        return refusal(paranoid());
    }
    Problem::LoadFailed { what: "opening a perf event".into(), detail: io::Error::from_raw_os_error(errno).to_string() }
}

pub(super) fn is_refusal(errno: i32) -> bool {
    matches!(errno, libc::EACCES | libc::EPERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_is_blamed_only_where_it_can_be_the_cause() {
        assert_eq!(refusal(3), Problem::PerfParanoid { level: 3 });
        let by_another = refusal(2).message();
        assert!(by_another.contains("though kernel.perf_event_paranoid is 2, by seccomp"), "{by_another}");
    }
}
