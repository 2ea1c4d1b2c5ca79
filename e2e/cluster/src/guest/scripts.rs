//! The scripts of a guest's init, with what differs from node to node: pure.

use std::fmt::Write;
use std::path::Path;

use crate::addresses::NodeNumber;
use crate::daemon::Daemon;
use crate::guest::import::PORT;

pub(super) const INITTAB: &str = include_str!("../../guest/inittab");

/// kube-proxy ends once by itself, when its node gets its addresses, and the next one (1.37) leaves maps empty that it finds.
const REMOVE_TABLES: &str = "for family in ip ip6; do nft delete table $family kube-proxy 2>/dev/null; done\n";

/// The scripts that are the same in every guest.
pub(super) const SCRIPTS: [(&str, &str); 4] = [
    ("prepare.sh", include_str!("../../guest/prepare.sh")),
    ("load-images.sh", include_str!("../../guest/load-images.sh")),
    ("receive-images.sh", include_str!("../../guest/receive-images.sh")),
    ("import-image.sh", include_str!("../../guest/import-image.sh")),
];

/// What the scripts read first.
pub(super) fn settings(node: NodeNumber, folder: &Path, socket: &Path) -> String {
    let first = NodeNumber(1);
    let pairs = [
        ("NODE", node.name()),
        ("NODE_FOLDER", folder.display().to_string()),
        ("SOCKET", socket.display().to_string()),
        ("V4", node.v4().to_string()),
        ("V6", node.v6().to_string()),
        ("GATEWAY_V4", first.v4().to_string()),
        ("GATEWAY_V6", first.v6().to_string()),
        ("IMAGE_PORT", PORT.to_string()),
    ];
    pairs.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name}={}", quote(value));
        text
    })
}

/// What init keeps running: the daemon as another node would start it, in the cgroup of the node's daemons.
pub(super) fn daemon(node: NodeNumber, daemon: &Daemon) -> String {
    let mut text = format!("#!/bin/sh\necho $$ >/sys/fs/cgroup/{}/system/cgroup.procs\n", node.name());
    text.push_str(match daemon.name {
        "kubelet" => "until [ -e /run/images-loaded ]; do sleep 0.5; done\n",
        "kube-proxy" => REMOVE_TABLES,
        _ => "",
    });
    for (name, value) in &daemon.environment {
        let _ = writeln!(text, "export {name}={}", quote(&value.to_string_lossy()));
    }
    let program = daemon.program.to_string_lossy();
    let words = daemon.arguments.iter().map(|word| word.to_string_lossy());
    let line: Vec<String> = std::iter::once(program).chain(words).map(|word| quote(&word)).collect();
    let _ = writeln!(text, "exec {}", line.join(" "));
    text
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn containerd(name: &'static str) -> Daemon {
        Daemon {
            name,
            home: PathBuf::from("/state/node2"),
            cluster: PathBuf::from("/state"),
            program: PathBuf::from(name),
            arguments: vec!["--config=/state/it's here.toml".into()],
            environment: vec![("HTTP_PROXY", "http://127.0.0.1:9".into())],
            cgroups: Vec::new(),
            namespace: None,
        }
    }

    #[test]
    fn every_script_of_inittab_is_on_the_disk() {
        let named = INITTAB.lines().filter_map(|line| line.rsplit_once("/etc/node/").map(|(_, script)| script));
        let daemons = ["containerd.sh", "kubelet.sh", "kube-proxy.sh"];
        for script in named {
            assert!(daemons.contains(&script) || SCRIPTS.iter().any(|(name, _)| *name == script), "{script}");
        }
    }

    #[test]
    fn only_kubelet_waits_for_the_images() {
        let script = |name| daemon(NodeNumber(2), &containerd(name));
        assert!(script("kubelet").contains("images-loaded"));
        assert!(!script("containerd").contains("images-loaded"));
        assert!(script("containerd").starts_with("#!/bin/sh\necho $$ >/sys/fs/cgroup/node2/system/cgroup.procs\n"));
    }

    #[test]
    fn kube_proxy_begins_without_tables() {
        let script = |name| daemon(NodeNumber(2), &containerd(name));
        assert!(script("kube-proxy").contains("nft delete table $family kube-proxy"));
        assert!(!script("kubelet").contains("nft delete"));
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        let script = daemon(NodeNumber(2), &containerd("containerd"));
        assert!(script.ends_with("exec 'containerd' '--config=/state/it'\\''s here.toml'\n"), "{script}");
        assert!(script.contains("export HTTP_PROXY='http://127.0.0.1:9'\n"), "{script}");
    }

    #[test]
    fn settings_name_all_that_scripts_read() {
        let text = settings(NodeNumber(2), Path::new("/state/node2"), Path::new("/state/node2/containerd.sock"));
        let named: Vec<&str> = text.lines().filter_map(|line| line.split_once('=').map(|(name, _)| name)).collect();
        for (script, content) in SCRIPTS {
            for used in content.split("\"$").skip(1) {
                let name: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                let local = content.contains(&format!("{name} in ")) || name.is_empty();
                assert!(local || named.contains(&name.as_str()), "{script} reads {name}");
            }
        }
        assert!(text.contains("V4='10.99.0.2'\n") && text.contains("GATEWAY_V4='10.99.0.1'\n"), "{text}");
    }
}
