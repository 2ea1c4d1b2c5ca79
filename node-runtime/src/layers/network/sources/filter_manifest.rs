//! The filters that this agent has at interfaces, and the qdiscs that it made for them, written down before they are attached: a
//! filter outlives a killed agent, and the next process removes it.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    desired::last_known_good::StateFile,
    kernel::{
        net_namespace, probe,
        tc_filter::{FilterId, create_clsact, remove_clsact},
    },
    layers::network::netlink,
    problem::Problem,
};

/// Its name in the state directory.
const FILE: &str = "packet-filters";

/// What is in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterRecords {
    /// Indexes of interfaces mean nothing after a reboot, nor in another network namespace.
    boot: String,
    namespace: u32,
    interfaces: BTreeMap<u32, InterfaceRecord>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct InterfaceRecord {
    /// The qdisc was made for our filters.
    is_own_qdisc: bool,
    filters: Vec<FilterId>,
}

#[derive(Debug, Default)]
pub struct FilterManifest {
    /// None where nothing is kept on disk.
    file: Option<StateFile<FilterRecords>>,
    records: FilterRecords,
}

impl FilterManifest {
    /// What an earlier process has left.
    pub fn read(state_dir: &Path) -> Self {
        let file: StateFile<FilterRecords> = StateFile::named(state_dir, FILE);
        let here =
            FilterRecords { boot: probe::boot_id(), namespace: net_namespace::own(), ..FilterRecords::default() };
        let records = match file.read() {
            Ok(Some(records)) if records.is_of(&here) => records,
            Ok(_) => here,
            Err(error) => {
                tracing::warn!(%error, "the list of filters cannot be read: those of an earlier agent may stay until a reboot");
                here
            }
        };
        Self { file: Some(file), records }
    }

    /// Removes all filters that are written down, and qdiscs that were made for them. Returns their number.
    pub fn remove_all(&mut self) -> usize {
        let all: Vec<FilterId> = self.records.interfaces.values().flat_map(|record| record.filters.clone()).collect();
        if !all.is_empty() {
            all.iter().for_each(|id| self.detach(*id));
            self.write_removed();
        }
        all.len()
    }

    /// Writes down a filter that is about to be attached, and makes the qdisc for it where there is none.
    pub(super) fn insert(&mut self, id: FilterId) -> Result<(), Problem> {
        let is_new = create_clsact(id.interface)?;
        let record = self.records.interfaces.entry(id.interface).or_default();
        record.is_own_qdisc |= is_new;
        if !record.filters.contains(&id) {
            record.filters.push(id);
        }
        self.write().map_err(|detail| {
            self.detach(id);
            Problem::LoadFailed { what: format!("writing down a filter of interface {}", id.interface), detail }
        })
    }

    /// Detaches a filter. The qdisc goes with the last one if it was made for ours, and others have not come to use it.
    pub(super) fn remove(&mut self, id: FilterId) {
        self.detach(id);
        self.write_removed();
    }

    fn detach(&mut self, id: FilterId) {
        let was_there = id.detach().unwrap_or_else(|error| {
            tracing::warn!(interface = id.interface, %error, "a filter could not be detached");
            false
        });
        let Some(record) = self.records.interfaces.get_mut(&id.interface) else { return };
        record.filters.retain(|filter| *filter != id);
        if record.filters.is_empty() {
            // Without the filter it is another interface's qdisc by now: the index was given again.
            let is_own = record.is_own_qdisc && was_there;
            self.records.interfaces.remove(&id.interface);
            if is_own {
                remove_empty_qdisc(id.interface);
            }
        }
    }

    /// A filter that is still written down and no more attached is looked for in vain, once.
    fn write_removed(&self) {
        if let Err(detail) = self.write() {
            tracing::warn!(detail, "the list of filters could not be written");
        }
    }

    fn write(&self) -> Result<(), String> {
        let Some(file) = &self.file else { return Ok(()) };
        let answer = if self.records.interfaces.is_empty() { file.remove() } else { file.write(&self.records) };
        answer.map_err(|error| error.to_string())
    }
}

impl FilterRecords {
    fn is_of(&self, here: &Self) -> bool {
        (&self.boot, self.namespace) == (&here.boot, here.namespace)
    }
}

fn remove_empty_qdisc(interface: u32) {
    let removed = match netlink::has_filters(interface) {
        Ok(false) => remove_clsact(interface),
        // An interface that is gone has none.
        Ok(true) | Err(_) => Ok(()),
    };
    if let Err(error) = removed {
        tracing::debug!(interface, %error, "an empty qdisc stays");
    }
}

#[cfg(test)]
mod tests {
    use trilobite_node_ebpf::FlowDirection;

    use super::*;
    use crate::kernel::tc_filter::FilterRole;

    fn records(boot: &str, namespace: u32) -> FilterRecords {
        let id = FilterId::new(7, FlowDirection::Out, FilterRole::Flows);
        let interface = InterfaceRecord { is_own_qdisc: true, filters: vec![id] };
        FilterRecords { boot: boot.into(), namespace, interfaces: [(7, interface)].into() }
    }

    #[test]
    fn records_are_read_back_as_they_were_written() {
        let text = serde_json::to_string(&records("b1", 4)).unwrap();
        assert_eq!(serde_json::from_str::<FilterRecords>(&text).unwrap(), records("b1", 4));
    }

    #[test]
    fn records_of_another_boot_or_namespace_are_not_followed() {
        let here = FilterRecords { boot: "b1".into(), namespace: 4, ..FilterRecords::default() };
        let followed = [records("b1", 4), records("b0", 4), records("b1", 5)].map(|records| records.is_of(&here));
        assert_eq!(followed, [true, false, false]);
    }

    #[test]
    fn file_of_another_boot_removes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        StateFile::named(folder.path(), FILE).write(&records("a boot long ago", 0)).unwrap();
        let mut manifest = FilterManifest::read(folder.path());
        assert_eq!(manifest.remove_all(), 0);
    }
}
