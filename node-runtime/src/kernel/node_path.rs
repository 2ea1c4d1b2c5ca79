//! Where a path of the agent's container is on the node: an administrator and other containers know the node's paths alone.

use std::path::{Path, PathBuf};

/// One line of `/proc/PID/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// Major and minor number of the file system.
    device: String,
    /// The directory of the file system that is mounted.
    root: PathBuf,
    mount_point: PathBuf,
}

/// The absolute path on the node. It is the same where the agent is in no container, or where the node's mounts cannot be read.
pub fn on_node(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    read_path_on_node(&path).unwrap_or(path)
}

fn read_path_on_node(path: &Path) -> Option<PathBuf> {
    let mounts = |process: &str| std::fs::read_to_string(format!("/proc/{process}/mountinfo")).ok();
    let (own, node) = (mounts("self")?, mounts("1")?);
    // In the node's own mount namespace a path is what it is.
    if own == node { None } else { path_on_node(path, &own, &node) }
}

/// Both lists are the text of a `mountinfo`: of the agent, and of the node's first process.
fn path_on_node(path: &Path, own: &str, node: &str) -> Option<PathBuf> {
    let own = own.lines().filter_map(parse).filter(|mount| path.starts_with(&mount.mount_point));
    // Of mounts at the same point, the last hides the others.
    let own = own.max_by_key(|mount| mount.mount_point.as_os_str().len())?;
    let in_file_system = joined(&own.root, path.strip_prefix(&own.mount_point).ok()?);
    let node = node.lines().filter_map(parse).filter(|mount| mount.device == own.device);
    let node = node.filter(|mount| in_file_system.starts_with(&mount.root));
    // The kubelet and the runtime mount parts of it elsewhere; the whole is where an administrator looks.
    let node = node.min_by_key(|mount| (mount.root.as_os_str().len(), mount.mount_point.as_os_str().len()))?;
    Some(joined(&node.mount_point, in_file_system.strip_prefix(&node.root).ok()?))
}

/// As `Path::join`, without a slash at the end where nothing is added.
fn joined(path: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { path.to_owned() } else { path.join(rest) }
}

fn parse(line: &str) -> Option<Mount> {
    let mut words = line.split(' ').skip(2);
    let device = words.next()?.to_owned();
    Some(Mount { device, root: unescaped(words.next()?).into(), mount_point: unescaped(words.next()?).into() })
}

/// Spaces and the like are written as `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(part.get(3..).unwrap_or_default());
            }
            None => plain.extend(["\\", part]),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "\
        22 1 254:0 / / rw - ext4 /dev/vda rw\n\
        25 22 0:25 / /run rw,nosuid shared:5 - tmpfs tmpfs rw\n\
        90 25 0:25 /trilobite/n1 /var/lib/kubelet/pods/u1/volume-subpaths/run/agent/1 rw - tmpfs tmpfs rw\n";
    const AGENT: &str = "\
        800 700 0:99 / / ro - overlay overlay rw\n\
        801 800 0:25 /trilobite/n1 /run/trilobite rw - tmpfs tmpfs rw\n\
        802 800 254:0 /var/lib/my\\040state/n1 /var/lib/trilobite rw - ext4 /dev/vda rw\n";

    fn found(path: &str) -> Option<String> {
        path_on_node(Path::new(path), AGENT, NODE).map(|path| path.display().to_string())
    }

    #[test]
    fn file_below_a_host_path_is_found_on_the_node() {
        assert_eq!(found("/run/trilobite/agent.sock").as_deref(), Some("/run/trilobite/n1/agent.sock"));
        assert_eq!(found("/var/lib/trilobite/last-good").as_deref(), Some("/var/lib/my state/n1/last-good"));
        // The container's own file system is not mounted on this node.
        assert_eq!(found("/tmp/agent.sock"), None);
    }

    #[test]
    fn agent_outside_a_container_has_the_path_that_it_was_given() {
        assert_eq!(path_on_node(Path::new("/run/a"), NODE, NODE), Some("/run/a".into()));
        assert!(on_node(Path::new("run/a.sock")).is_absolute());
    }
}
