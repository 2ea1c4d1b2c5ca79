//! Where the flows of watched interfaces go: the node's history, and whatever each unit has besides.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{flow::Flow, history::History, unit::Unit};
use crate::{layers::UnitKey, serve::hubble};

/// Where flows go.
pub(super) struct Outlet {
    node: String,
    pub(super) history: History,
    pub(super) units: BTreeMap<UnitKey, Unit>,
    pub(super) watched_for: WatchedFor,
    /// When losses were asked for last.
    asked: Timestamp,
}

/// By the index of an interface.
pub(super) type WatchedFor = HashMap<u32, Vec<UnitKey>>;

impl Outlet {
    pub(super) fn new(node: String, history: History) -> Self {
        Self { node, history, units: BTreeMap::new(), watched_for: HashMap::new(), asked: Timestamp::now() }
    }

    pub(super) fn wanted(&self) -> impl Iterator<Item = (&UnitKey, &Unit)> {
        self.units.iter().filter(|(_, unit)| !unit.leaving)
    }

    pub(super) fn deliver(&mut self, flow: Flow) {
        let mut line = Vec::new();
        let mut wanted = false;
        for key in self.watched_for.get(&flow.interface.index).into_iter().flatten() {
            let Some(unit) = self.units.get_mut(key).filter(|unit| unit.wish.wants(&flow)) else { continue };
            wanted = true;
            unit.count.records += 1;
            for outlet in &unit.outlets {
                if line.is_empty() {
                    hubble::append_json_line(&flow, &self.node, &mut line);
                }
                outlet.write(&line);
            }
        }
        if wanted {
            self.history.push(Arc::new(flow));
        }
    }

    /// Tells everybody what the kernel has lost, given its total since the start: which flows it would have been is not
    /// known, so that each may have wanted them.
    pub(super) fn tell_lost(&mut self, total: u64) {
        let (first, last) = (self.asked, Timestamp::now());
        self.asked = last;
        self.history.lost_so_far(total);
        for unit in self.units.values_mut().filter(|unit| unit.lost_told < total) {
            let mut line = Vec::new();
            hubble::append_lost_line(total - unit.lost_told, first, last, &self.node, &mut line);
            unit.lost_told = total;
            unit.outlets.iter().for_each(|outlet| outlet.write(&line));
        }
    }

    /// Those who leave have still to hear what their interfaces say at the end; those who come hear it from now on.
    pub(super) fn also_watched_for(&mut self, more: &WatchedFor) {
        for (interface, keys) in more {
            let known = self.watched_for.entry(*interface).or_default();
            known.extend(keys.iter().cloned());
            known.sort();
            known.dedup();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        export::lines::Lines,
        layers::{
            UnitCount,
            network::{flow::tests::syn, unit::Wish},
        },
        report::Ledger,
    };
    use trilobite_crds::node::{FlowsPart, PodScope, SourceKind};

    fn one_capture_to_a_file(folder: &std::path::Path) -> Outlet {
        let wish = Wish::of_part(&FlowsPart { pods: PodScope::default(), flow_entries: 256, ring_bytes: 4096 });
        let unit = Unit {
            wish,
            outlets: vec![Lines::file("shop/capture", &Ledger::default(), folder.to_owned())],
            _slot: None,
            leaving: false,
            count: UnitCount::default(),
            lost_before: 4,
            lost_told: 4,
        };
        let key = UnitKey { kind: SourceKind::FlowCapture, name: "shop/capture".into(), version: "1".into() };
        let mut outlet = Outlet::new("n1".into(), History::default());
        outlet.watched_for.insert(12, vec![key.clone()]);
        outlet.units.insert(key, unit);
        outlet
    }

    #[test]
    fn a_captures_file_says_what_the_kernel_lost_since_it_began() {
        let folder = std::env::temp_dir().join(format!("trilobite-lost-{}", std::process::id()));
        let mut outlet = one_capture_to_a_file(&folder);
        for total in [4, 9, 9] {
            outlet.tell_lost(total);
        }
        outlet.deliver(syn());
        assert_eq!(outlet.history.lost(), 9);
        drop(outlet);
        let written = || std::fs::read_to_string(folder.join("events.log")).unwrap_or_default();
        while written().lines().count() < 2 {
            std::thread::yield_now();
        }
        let text = written();
        let first = text.lines().next().unwrap();
        assert!(first.contains(r#""source":"PERF_EVENT_RING_BUFFER","num_events_lost":"5""#), "{first}");
        assert!(text.lines().nth(1).unwrap().contains("front-1"), "{text}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
