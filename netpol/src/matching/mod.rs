//! What rules are made of: selectors of labels, indexes of pods, sets of addresses and ports.

mod addresses;
mod pod_index;
mod pod_selector;
mod ports;
mod ranges;
mod selector;

pub(crate) use addresses::{AddressSet, parse_network};
pub(crate) use pod_index::PodIndex;
pub(crate) use pod_selector::{NamespaceSelection, PodSelector};
pub(crate) use ports::{PortSet, PortsBuilder};
pub(crate) use selector::{LabelTest, Requirement, Selector};
