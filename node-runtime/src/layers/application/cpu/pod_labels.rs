//! What the title and the root of a flame graph say about a pod: the names of its containers, and the limit of its CPU time.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use crate::identity::Owner;

/// Characters of a container's id where its name is not known.
const SHORT_ID: usize = 12;
/// Where a hybrid node has cgroup v2.
const V2_BESIDE_V1: &str = "unified";

/// `pod/container` of a cgroup's owner; none as long as the pod is not known.
pub(super) fn container_name(owner: &Owner) -> Option<String> {
    match owner {
        Owner::Pod(found) => {
            let pod = if found.pod.name.is_empty() { &found.pod.uid } else { &found.pod.name };
            let container = match &found.container {
                Some(container) => container.name.as_str(),
                None => found.container_id.get(..SHORT_ID).unwrap_or(&found.container_id),
            };
            Some(if container.is_empty() { pod.clone() } else { format!("{pod}/{container}") })
        }
        Owner::Host => Some("host".to_owned()),
        Owner::Unnamed(_) | Owner::Unknown | Owner::Elsewhere => None,
    }
}

/// Limit of a cgroup's CPU time in thousandths of a processor; none without a limit. On a hybrid node cgroup v1 has the CPU
/// controller, in a folder beside that of v2.
pub(super) fn cpu_limit_millis(cgroup: &Path) -> Option<u64> {
    if let Ok(limit) = fs::read_to_string(cgroup.join("cpu.max")) {
        return parse_limit(&limit);
    }
    let v1: PathBuf = cgroup.iter().map(|name| if name == V2_BESIDE_V1 { OsStr::new("cpu") } else { name }).collect();
    let [quota, period] = ["cpu.cfs_quota_us", "cpu.cfs_period_us"].map(|file| fs::read_to_string(v1.join(file)));
    parse_limit(&format!("{} {}", quota.ok()?.trim(), period.ok()?.trim()))
}

/// `30000 100000`, `max 100000` or `-1 100000`: time in each period, in microseconds.
fn parse_limit(text: &str) -> Option<u64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.checked_mul(1000)?.checked_div(period)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::identity::{Container, Pod, PodContainer};

    #[test]
    fn limit_is_the_share_of_a_period() {
        assert_eq!(parse_limit("30000 100000\n"), Some(300));
        assert_eq!(parse_limit("400000 200000\n"), Some(2000));
        for none in ["max 100000\n", "-1 100000\n", "", "1 0\n", "18446744073709551615 1\n"] {
            assert_eq!(parse_limit(none), None, "{none}");
        }
    }

    #[test]
    fn limit_is_read_from_either_version_of_cgroups() {
        let root = tempfile::tempdir().unwrap();
        let (v2, v1) = (root.path().join("unified/kubepods/pod7"), root.path().join("cpu/kubepods/pod7"));
        for folder in [&v2, &v1] {
            fs::create_dir_all(folder).unwrap();
        }
        assert_eq!(cpu_limit_millis(&v2), None);
        fs::write(v1.join("cpu.cfs_quota_us"), "50000\n").unwrap();
        fs::write(v1.join("cpu.cfs_period_us"), "100000\n").unwrap();
        assert_eq!(cpu_limit_millis(&v2), Some(500));
        fs::write(v2.join("cpu.max"), "30000 100000\n").unwrap();
        assert_eq!(cpu_limit_millis(&v2), Some(300));
    }

    #[test]
    fn container_is_named_as_far_as_it_is_known() {
        let named = |pod: &str, container: Option<&str>, id: &str| {
            let pod = Arc::new(Pod { name: pod.into(), uid: "7f0e".into(), ..Pod::default() });
            let container = container.map(|name| Container { name: name.into(), ..Container::default() });
            container_name(&Owner::Pod(Arc::new(PodContainer { pod, container, container_id: id.into() }))).unwrap()
        };
        assert_eq!(named("cart-7", Some("app"), "0123456789abcdef"), "cart-7/app");
        assert_eq!(named("cart-7", None, "0123456789abcdef"), "cart-7/0123456789ab");
        assert_eq!(named("", None, ""), "7f0e");
        assert_eq!(container_name(&Owner::Unknown), None);
    }
}
