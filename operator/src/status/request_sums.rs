//! Sums of what nodes report of the requests of one session. Nodes may report anything, so every sum and text stays within the
//! schema. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use trilobite_crds::{
    bounds::MAX_COUNT,
    node::{MAX_OTHER_PROTOCOLS, MAX_PROTOCOLS, MAX_TLS_NOT_VISIBLE, RequestsState},
    status::{InvisibleTls, ProtocolRowCount, RequestsStatus},
};

use super::node_text::node_text;

/// Most characters of a protocol or a reason, as in the schema.
const MAX_WORD: usize = 32;
/// Most characters of a program's name, as in the schema.
const MAX_BINARY: usize = 128;

/// The sums of all nodes that have reported; none if there is no node.
pub(super) fn sum_requests<'a>(states: impl Iterator<Item = &'a RequestsState>) -> Option<RequestsStatus> {
    let mut sums = RequestsStatus::default();
    let mut rows: BTreeMap<String, i64> = BTreeMap::new();
    let mut others = BTreeSet::new();
    let mut invisible: BTreeMap<(String, String), i64> = BTreeMap::new();
    for state in states {
        sums.nodes = sums.nodes.saturating_add(1);
        for (sum, count) in [
            (&mut sums.bytes, state.bytes),
            (&mut sums.connections, state.connections),
            (&mut sums.encrypted, state.encrypted),
            (&mut sums.gap_bytes, state.gap_bytes),
            (&mut sums.gaps, state.gaps),
            (&mut sums.lost_budget, state.lost_budget),
            (&mut sums.lost_parse, state.lost_parse),
            (&mut sums.lost_ring, state.lost_ring),
            (&mut sums.memory_bytes, state.memory_bytes),
            (&mut sums.mid_stream, state.mid_stream),
            (&mut sums.other_role, state.other_role),
            (&mut sums.pods, state.pods.into()),
            (&mut sums.tls_targets, state.tls_targets.into()),
        ] {
            add(sum, count);
        }
        sums.oldest_row = sums.oldest_row.into_iter().chain(state.oldest_row).min();
        for count in state.rows.iter().take(MAX_PROTOCOLS) {
            add(rows.entry(node_text(&count.protocol, MAX_WORD)).or_default(), count.rows);
            add(&mut sums.total_rows, count.rows);
        }
        others.extend(state.other_protocols.iter().take(MAX_OTHER_PROTOCOLS).map(|name| node_text(name, MAX_WORD)));
        for kind in state.tls_not_visible.iter().take(MAX_TLS_NOT_VISIBLE) {
            let key = (node_text(&kind.binary, MAX_BINARY), node_text(&kind.reason, MAX_WORD));
            add(invisible.entry(key).or_default(), kind.processes.into());
        }
    }
    let rows = rows.into_iter().map(|(protocol, rows)| ProtocolRowCount { protocol, rows });
    sums.rows = most(rows.collect(), MAX_PROTOCOLS, |count| count.rows);
    sums.other_protocols = others.into_iter().take(MAX_OTHER_PROTOCOLS).collect();
    let kinds = invisible.into_iter().map(|((binary, reason), processes)| InvisibleTls { binary, processes, reason });
    sums.tls_not_visible = most(kinds.collect(), MAX_TLS_NOT_VISIBLE, |kind| kind.processes);
    (sums.nodes > 0).then_some(sums)
}

fn add(sum: &mut i64, count: u64) {
    *sum = sum.saturating_add(i64::try_from(count).unwrap_or(MAX_COUNT)).min(MAX_COUNT);
}

/// The most frequent ones first; of equal ones in the order of their names.
fn most<T>(mut items: Vec<T>, limit: usize, count: impl Fn(&T) -> i64) -> Vec<T> {
    items.sort_by_key(|item| Reverse(count(item)));
    items.truncate(limit);
    items
}

#[cfg(test)]
mod tests {
    use trilobite_crds::{
        bounds,
        node::{ProtocolRows, TlsNotVisible},
    };

    use super::*;

    fn rows(protocol: &str, rows: u64) -> ProtocolRows {
        ProtocolRows { protocol: protocol.into(), rows }
    }

    fn invisible(binary: &str, reason: &str, processes: u32) -> TlsNotVisible {
        TlsNotVisible { reason: reason.into(), binary: binary.into(), processes }
    }

    #[test]
    fn counts_of_nodes_are_added_by_kind() {
        let at = |second| Some(jiff::Timestamp::from_second(second).unwrap());
        let one = RequestsState {
            pods: 2,
            connections: 5,
            rows: vec![rows("http", 7), rows("dns", 1)],
            oldest_row: at(20),
            other_protocols: vec!["mysql".into()],
            tls_not_visible: vec![invisible("java", "jsse", 1), invisible("api", "go", 2)],
            ..RequestsState::default()
        };
        let other = RequestsState {
            pods: 1,
            connections: 4,
            rows: vec![rows("http", 3), rows("pgsql", 9)],
            oldest_row: at(10),
            other_protocols: vec!["mysql".into(), "kafka".into()],
            tls_not_visible: vec![invisible("java", "jsse", 4)],
            ..RequestsState::default()
        };
        let sums = sum_requests([&one, &other].into_iter()).unwrap();
        assert_eq!((sums.nodes, sums.pods, sums.connections, sums.total_rows), (2, 3, 9, 20));
        let by_protocol: Vec<_> = sums.rows.iter().map(|count| (count.protocol.as_str(), count.rows)).collect();
        assert_eq!(by_protocol, [("http", 10), ("pgsql", 9), ("dns", 1)]);
        assert_eq!((sums.oldest_row, sums.other_protocols), (at(10), vec!["kafka".to_owned(), "mysql".into()]));
        let kinds: Vec<_> = sums.tls_not_visible.iter().map(|kind| (kind.binary.as_str(), kind.processes)).collect();
        assert_eq!(kinds, [("java", 5), ("api", 2)]);
        assert_eq!(sum_requests([].into_iter()), None);
    }

    #[test]
    fn whatever_nodes_report_fits_into_the_schema() {
        let state = |node: usize| RequestsState {
            pods: u32::MAX,
            bytes: u64::MAX,
            lost_ring: u64::MAX,
            rows: (0..40).map(|number| rows(&"é\n".repeat(50 + number), u64::MAX)).collect(),
            other_protocols: (0..40).map(|number| format!("{node}-{number}-{}", "x".repeat(99))).collect(),
            tls_not_visible: (0..40)
                .map(|number| invisible(&format!("{node}{number}{}", "b".repeat(999)), &"r".repeat(99), u32::MAX))
                .collect(),
            ..RequestsState::default()
        };
        let states = [state(1), state(2)];
        let sums = sum_requests(states.iter()).unwrap();
        assert_eq!(bounds::violations(&sums, "status.requests"), []);
        assert!(sums.other_protocols.iter().all(|name| name.chars().count() <= MAX_WORD));
        assert_eq!((sums.bytes, sums.total_rows), (MAX_COUNT, MAX_COUNT));
    }
}
