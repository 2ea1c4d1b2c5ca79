//! The machine's own packet filter, as iptables keeps it in nftables: lets the nodes through where another program
//! (Docker) drops what is forwarded, and takes out what kubelet and the port mappings of pods left: where such chains were
//! there before, no cluster is started (`refuse_if_any`). What nftables lists decides whether iptables is called at all, as a
//! call may create tables that did not exist.

use crate::addresses::{PODS_V4, PODS_V6};
use crate::command::words;
use crate::error::Result;

const FAMILIES: [(&str, &str, &str); 2] = [("ip", "iptables", PODS_V4), ("ip6", "ip6tables", PODS_V6)];
const TABLES: [&str; 6] = ["ip nat", "ip filter", "ip mangle", "ip6 nat", "ip6 filter", "ip6 mangle"];

/// The tables of iptables that are not there.
pub(crate) fn missing_tables() -> Vec<String> {
    let tables = words("nft list tables").unwrap_or_default();
    let there = |table: &&str| tables.lines().any(|line| line.trim() == format!("table {table}"));
    TABLES.iter().filter(|table| !there(table)).map(ToString::to_string).collect()
}

/// Accepts the pods' traffic where what is forwarded is dropped otherwise. The cluster's own fence still holds.
pub(crate) fn let_through() -> Result<()> {
    for (family, program, pods) in FAMILIES {
        let chain = words(&format!("nft list chain {family} filter FORWARD")).unwrap_or_default();
        if !chain.contains("policy drop") {
            continue;
        }
        for side in ["-s", "-d"] {
            words(&format!("{program} -w -I FORWARD {side} {pods} -j ACCEPT"))?;
        }
    }
    Ok(())
}

/// Takes out what `let_through`, kubelet and the pods' port mappings put in, and tables that were not there before.
pub(crate) fn forget(missing_before: &[String]) {
    for table in TABLES {
        // By nftables' handles: iptables would have to be told every word of a rule again.
        let listing = words(&format!("nft -a list table {table}")).unwrap_or_default();
        for command in removal(table, &listing) {
            let _ = words(&format!("nft {command}"));
        }
    }
    for table in missing_before {
        let listing = words(&format!("nft list table {table}")).unwrap_or_default();
        // Only its base chains: no other program added a rule meanwhile.
        if !listing.is_empty() && !listing.contains("counter") {
            let _ = words(&format!("nft delete table {table}"));
        }
    }
}

/// The commands that undo what is the cluster's in a table: rules of others' chains, then its own chains.
fn removal(table: &str, listing: &str) -> Vec<String> {
    let (mut rules, mut flushes, mut deletions) = (Vec::new(), Vec::new(), Vec::new());
    let mut chain = "";
    for line in listing.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("chain ").and_then(|rest| rest.split(' ').next()) {
            chain = name;
            if is_of_a_node(chain) {
                flushes.push(format!("flush chain {table} {chain}"));
                deletions.push(format!("delete chain {table} {chain}"));
            }
        } else if let Some((rule, handle)) = line.rsplit_once(" # handle ")
            && !is_of_a_node(chain)
            && is_ours(rule)
        {
            rules.push(format!("delete rule {table} {chain} handle {handle}"));
        }
    }
    [rules, flushes, deletions].concat()
}

/// A chain of the port mappings of pods, or of kubelet.
fn is_of_a_node(chain: &str) -> bool {
    ["CNI-", "KUBE-"].iter().any(|mark| chain.starts_with(mark))
}

fn is_ours(rule: &str) -> bool {
    let target = rule.split(' ').next_back().unwrap_or_default();
    is_of_a_node(target) || (target == "accept" && [PODS_V4, PODS_V6].iter().any(|pods| rule.contains(pods)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_chains_of_the_cluster_are_removed_and_no_others() {
        let listing = "table ip nat { # handle 7\n\
            \tchain CNI-HOSTPORT-MASQ { # handle 1\n\
            \t\tmeta mark & 0x2000 == 0x2000 counter packets 0 bytes 0 masquerade # handle 9\n\
            \t}\n\
            \tchain POSTROUTING { # handle 2\n\
            \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
            \t\t counter packets 626 bytes 43367 jump CNI-HOSTPORT-MASQ # handle 3\n\
            \t\tip daddr 10.244.0.0/16  counter packets 2 bytes 4 accept # handle 4\n\
            \t\tip daddr 172.17.0.0/16  counter packets 2 bytes 4 accept # handle 5\n\
            \t\t counter packets 6 bytes 4 jump DOCKER # handle 6\n\
            \t}\n\
            \tchain KUBE-FIREWALL { # handle 8\n\
            \t}\n}\n";
        assert_eq!(
            removal("ip nat", listing),
            [
                "delete rule ip nat POSTROUTING handle 3",
                "delete rule ip nat POSTROUTING handle 4",
                "flush chain ip nat CNI-HOSTPORT-MASQ",
                "flush chain ip nat KUBE-FIREWALL",
                "delete chain ip nat CNI-HOSTPORT-MASQ",
                "delete chain ip nat KUBE-FIREWALL",
            ]
        );
    }
}
