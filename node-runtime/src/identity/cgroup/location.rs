//! What the name of a cgroup and the location of its parent say about pod and container. Pure.

/// Where a cgroup is in the node's tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::identity) enum CgroupLocation {
    /// Outside of `kubepods`.
    #[default]
    Host,
    /// `kubepods` and the QoS classes below it.
    AbovePods,
    /// The cgroup of a pod or of a container, or one that a container made.
    Pod {
        /// API uid, or the config hash of a static pod.
        uid: String,
        /// Container id of the runtime; empty for the pod's own cgroup.
        container: String,
    },
}

impl CgroupLocation {
    /// The location of a cgroup called `name` inside this one.
    pub(super) fn child(&self, name: &str) -> Self {
        match self {
            Self::Host if name == "kubepods" || name.ends_with("kubepods.slice") => Self::AbovePods,
            Self::Host => Self::Host,
            Self::AbovePods => match pod_uid(name) {
                Some(uid) => Self::Pod { uid, container: String::new() },
                None => Self::AbovePods,
            },
            Self::Pod { uid, container } if container.is_empty() => {
                Self::Pod { uid: uid.clone(), container: container_id(name).unwrap_or_default() }
            }
            Self::Pod { .. } => self.clone(),
        }
    }
}

/// `pod<uid>` of the cgroupfs driver, `kubelet-kubepods-burstable-pod<uid with underscores>.slice` of the systemd driver.
fn pod_uid(name: &str) -> Option<String> {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let start = if name.starts_with("pod") { 3 } else { name.rfind("-pod")? + 4 };
    let uid = name[start..].replace('_', "-");
    let known = uid.len() >= 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    known.then_some(uid)
}

/// `<id>`, `cri-containerd-<id>.scope`, `docker-<id>.scope`, `crio-<id>`; not the monitor (conmon) that CRI-O starts beside it.
fn container_id(name: &str) -> Option<String> {
    if name.starts_with("crio-conmon-") {
        return None;
    }
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.rsplit('-').next()?;
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "7f0e5f36-93a4-4d1b-8f0a-1f7a5a0c9e11";

    fn location(path: &str) -> CgroupLocation {
        path.split('/')
            .filter(|name| !name.is_empty())
            .fold(CgroupLocation::Host, |location, name| location.child(name))
    }

    fn pod(uid: &str, container: &str) -> CgroupLocation {
        CgroupLocation::Pod { uid: uid.into(), container: container.into() }
    }

    #[test]
    fn both_cgroup_drivers_name_the_same_pod_and_container() {
        let systemd = UID.replace('-', "_");
        for path in [
            format!("kubepods/besteffort/pod{UID}/{ID}"),
            format!("kubepods/pod{UID}/{ID}"),
            format!("kubepods.slice/kubepods-pod{systemd}.slice/cri-containerd-{ID}.scope"),
            format!(
                "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/\
                 kubelet-kubepods-burstable-pod{systemd}.slice/cri-containerd-{ID}.scope"
            ),
            format!(
                "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{systemd}.slice/docker-{ID}.scope"
            ),
            format!("kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{systemd}.slice/crio-{ID}"),
        ] {
            assert_eq!(location(&path), pod(UID, ID), "{path}");
        }
    }

    #[test]
    fn cgroup_made_inside_a_container_belongs_to_it() {
        assert_eq!(location(&format!("kubepods/pod{UID}/{ID}/init/worker")), pod(UID, ID));
    }

    #[test]
    fn static_pod_is_named_by_its_config_hash() {
        let hash = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
        assert_eq!(location(&format!("kubepods/burstable/pod{hash}")), pod(hash, ""));
    }

    #[test]
    fn qos_classes_are_above_pods_and_the_rest_is_the_host() {
        assert_eq!(location("kubepods/besteffort"), CgroupLocation::AbovePods);
        assert_eq!(location("kubelet.slice"), CgroupLocation::Host);
        assert_eq!(location("system.slice/containerd.service"), CgroupLocation::Host);
        assert_eq!(location(&format!("user.slice/pod{UID}")), CgroupLocation::Host);
    }

    #[test]
    fn monitor_of_the_runtime_belongs_to_the_pod_only() {
        assert_eq!(location(&format!("kubepods/pod{UID}/crio-conmon-{ID}.scope")), pod(UID, ""));
    }
}
