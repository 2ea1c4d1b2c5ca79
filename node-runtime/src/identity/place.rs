//! What a cgroup's name says about who is in it. Pure; the tree above it has been read already.

/// Where in a node's tree a cgroup lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CgroupPlace {
    /// Not below the pods.
    #[default]
    Host,
    /// `kubepods` and the classes of service below it: above every pod.
    AbovePods,
    /// A pod's own cgroup, a container's, or one that a container made.
    Pod {
        /// API uid, or the hash of a static pod.
        uid: String,
        /// As the runtime names it; empty for the pod's own cgroup.
        container: String,
    },
}

impl CgroupPlace {
    /// The place of a cgroup called `name` in a cgroup of this place.
    pub fn below(&self, name: &str) -> Self {
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

/// `pod<uid>` of the cgroupfs driver, `kubelet-kubepods-burstable-pod<uid with underscores>.slice` of systemd's.
fn pod_uid(name: &str) -> Option<String> {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let start = if name.starts_with("pod") { 3 } else { name.rfind("-pod")? + 4 };
    let uid = name[start..].replace('_', "-");
    let known = uid.len() >= 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    known.then_some(uid)
}

/// `<id>`, `cri-containerd-<id>.scope`, `docker-<id>.scope`, `crio-<id>`; not the monitor that CRI-O puts beside it.
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

    fn place(path: &str) -> CgroupPlace {
        path.split('/').filter(|name| !name.is_empty()).fold(CgroupPlace::Host, |place, name| place.below(name))
    }

    fn pod(uid: &str, container: &str) -> CgroupPlace {
        CgroupPlace::Pod { uid: uid.into(), container: container.into() }
    }

    #[test]
    fn both_drivers_name_the_same_pod_and_container() {
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
            assert_eq!(place(&path), pod(UID, ID), "{path}");
        }
    }

    #[test]
    fn a_cgroup_made_inside_a_container_is_the_containers() {
        assert_eq!(place(&format!("kubepods/pod{UID}/{ID}/init/worker")), pod(UID, ID));
    }

    #[test]
    fn a_static_pod_goes_by_its_hash() {
        let hash = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
        assert_eq!(place(&format!("kubepods/burstable/pod{hash}")), pod(hash, ""));
    }

    #[test]
    fn classes_of_service_are_above_the_pods_and_the_rest_is_the_host() {
        assert_eq!(place("kubepods/besteffort"), CgroupPlace::AbovePods);
        assert_eq!(place("kubelet.slice"), CgroupPlace::Host);
        assert_eq!(place("system.slice/containerd.service"), CgroupPlace::Host);
        assert_eq!(place(&format!("user.slice/pod{UID}")), CgroupPlace::Host);
    }

    #[test]
    fn a_runtimes_monitor_is_of_the_pod_and_of_no_container() {
        assert_eq!(place(&format!("kubepods/pod{UID}/crio-conmon-{ID}.scope")), pod(UID, ""));
    }
}
